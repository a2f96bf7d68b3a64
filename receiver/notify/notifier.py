"""Every channel's targets, by name: what the dispatcher and the handlers' `ctx.notify` use."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from receiver.errors import ConfigError
from receiver.notify.apprise_target import AppriseTarget
from receiver.notify.file_target import SCHEME as FILE_SCHEME
from receiver.notify.file_target import FileTarget, file_path
from receiver.notify.log_guard import guard_logs, unguard_logs
from receiver.notify.redact import Redactor
from receiver.notify.target import Target
from receiver.notify.worker import Worker
from receiver.rate import parse_rate
from receiver.retry import RetryOptions, RetryPolicy

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


@dataclass(frozen=True, kw_only=True)
class ChannelSpec:
    """What a channel is made of: `[channels.NAME]` of the settings, resolved."""

    urls: tuple[str, ...] = field(repr=False)
    """One per recipient, secrets in clear."""
    rate: str | None = None
    """As `parse_rate` takes it; None is no limit but the one that a target asks for itself."""
    concurrency: int = 1
    """Messages sent at the same time, to each target."""
    circuit_failures: int = 5
    """Failures in a row after which a target is left alone for a while; 0 is never."""
    circuit_pause_seconds: float = 30.0
    timeout_seconds: float = 20.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """How each target's deliveries are tried again."""


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class ChannelSettings(Protocol):
    """The part of the settings' channel that is needed here."""

    @property
    def urls(self) -> Sequence[_Secret]: ...
    @property
    def rate(self) -> object: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def circuit_failures(self) -> int: ...
    @property
    def circuit_pause(self) -> timedelta: ...
    @property
    def timeout(self) -> timedelta: ...
    @property
    def retry(self) -> RetryOptions: ...


def channel_spec(settings: ChannelSettings) -> ChannelSpec:
    """The settings of a channel as what a `Notifier` takes."""
    return ChannelSpec(
        urls=tuple(url.get_secret_value() for url in settings.urls),
        rate=None if settings.rate is None else str(settings.rate),
        concurrency=settings.concurrency,
        circuit_failures=settings.circuit_failures,
        circuit_pause_seconds=settings.circuit_pause.total_seconds(),
        timeout_seconds=settings.timeout.total_seconds(),
        retry=settings.retry.over(RetryPolicy()),
    )


class Notifier:
    """The targets of all channels.

    A target's name is `channel/position-service`, e.g. `ops/1-slack`: the position counts from 1
    in the channel's `urls`, the service is the URL's scheme. It is the name of the target's
    deliveries in the store, so it stays the same while the list's order does.
    """

    def __init__(
        self,
        channels: Mapping[str, ChannelSpec],
        *,
        home: Path,
        secrets: Iterable[str] = (),
        before: "Notifier | None" = None,
    ) -> None:
        """Cheap, no I/O; Apprise is not imported. Raises ConfigError with all faults it can see
        so: no URL, a bad rate, a file outside `home`. The others need `check` or `warm_up`.
        `secrets` are further ones of the deployment, for `redactor` to mask. A target that is the
        same in `before` is taken from there, and so is the redactor, which learns the new secrets.
        """
        self._home = home
        self._targets: dict[str, Target] = {}
        self._policies: dict[str, RetryPolicy] = {}
        self._specs: dict[str, ChannelSpec] = {}
        self._made_of: dict[str, tuple[object, ...]] = {}
        self._before = before
        self.redactor: Redactor = Redactor() if before is None else before.redactor
        """Masks every secret of every channel's URLs, in any text."""
        urls = [url for spec in channels.values() for url in spec.urls]
        self.redactor.learn(urls=urls, secrets=secrets)
        problems: list[str] = []
        named = {name: self._make(name, spec, problems) for name, spec in channels.items()}
        if problems:
            raise ConfigError(*problems)
        self.channels: dict[str, tuple[str, ...]] = named
        """The names of each channel's targets, in the order of its URLs."""
        self._before = None
        guard_logs(self.redactor)

    @classmethod
    def from_settings(cls, channels: Mapping[str, ChannelSettings], *, home: Path) -> "Notifier":
        """The notifier of `settings.channels` in the deployment `settings.home`."""
        return cls({name: channel_spec(each) for name, each in channels.items()}, home=home)

    def targets(self, channel: str) -> tuple[str, ...]:
        """The channel's target names; raises KeyError for an unknown channel."""
        return self.channels[channel]

    def get(self, target_name: str) -> Target:
        """The target; raises KeyError if the settings have none of that name (any more)."""
        return self._targets[target_name]

    def all_targets(self) -> tuple[Target, ...]:
        """The targets of all channels."""
        return tuple(self._targets.values())

    def channel_of(self, target_name: str) -> ChannelSpec:
        """The channel that the target is of; raises KeyError like `get`."""
        return self._specs[target_name]

    def retry_policy(self, target_name: str) -> RetryPolicy:
        """How the target's deliveries are retried; raises KeyError like `get`."""
        return self._policies[target_name]

    def check(self) -> None:
        """Open every URL. Blocking (the first time it imports Apprise).

        Raises ConfigError with all faults: unknown service, malformed URL, several recipients.
        """
        problems: list[str] = []
        for target in self._targets.values():
            if isinstance(target, AppriseTarget):
                try:
                    target.open()
                except ConfigError as error:
                    problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)

    async def warm_up(self) -> None:
        """`check`, in a thread: the first message need not wait for it. Raises ConfigError."""
        worker = Worker("notify-warm-up")
        try:
            await asyncio.shield(worker.submit(self.check))
        finally:
            worker.stop()

    async def close(self) -> None:
        """Stop using the targets. Waits for none that hangs."""
        for target in self._targets.values():
            await target.close()
        unguard_logs(self.redactor)

    def _make(self, channel: str, spec: ChannelSpec, problems: list[str]) -> tuple[str, ...]:
        """The names of the channel's targets; what is wrong goes into `problems`."""
        if not spec.urls:
            problems.append(f"channels.{channel}: no urls; write one URL per recipient")
        return tuple(self._make_each(channel, spec, problems))

    def _make_each(self, channel: str, spec: ChannelSpec, problems: list[str]) -> Iterator[str]:
        for position, url in enumerate(map(str.strip, spec.urls), start=1):
            where = f"channels.{channel}, URL {position}"
            service = url.partition("://")[0].lower()
            name = f"{channel}/{position}-{service}"
            try:
                if not _URL.fullmatch(url):
                    raise ConfigError(
                        f"{where}: not a URL; write service://…, see docs/channels.md"
                    )
                self._made_of[name] = url, spec.timeout_seconds, spec.rate, spec.concurrency
                self._targets[name] = self._same_as_before(name) or self._make_target(
                    name, url, where, spec
                )
            except ConfigError as error:
                problems.extend(error.problems)
                continue
            self._specs[name] = spec
            self._policies[name] = spec.retry
            yield name

    def _same_as_before(self, name: str) -> Target | None:
        before = self._before
        if before is None or before._made_of.get(name) != self._made_of[name]:
            return None
        return before.get(name)

    def _make_target(self, name: str, url: str, where: str, spec: ChannelSpec) -> Target:
        try:
            rate = parse_rate(spec.rate) if spec.rate else None
        except ValueError as error:
            raise ConfigError(f"{where}: rate: {error}") from None
        if url.startswith(FILE_SCHEME):
            return FileTarget(
                name,
                file_path(url, self._home, where=where),
                home=self._home,
                timeout_seconds=spec.timeout_seconds,
                rate=rate,
                concurrency=spec.concurrency,
            )
        return AppriseTarget(
            name,
            url,
            where=where,
            timeout_seconds=spec.timeout_seconds,
            rate=rate,
            redactor=self.redactor,
            concurrency=spec.concurrency,
        )
