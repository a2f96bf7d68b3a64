"""Forwards: the webhook itself, posted to another address and signed anew.

A forward is the work of a delivery to a target, with its retries, its circuit and its
Retry-After; only that what goes out is the event, not the message that tells of it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from receiver import __version__
from receiver.dispatch.circuit import CircuitRules
from receiver.errors import ConfigError, UsageError
from receiver.guard import Bounds, configured, guarded_client
from receiver.model import Event
from receiver.notify import SendResult
from receiver.notify.classify import Report, classify
from receiver.notify.exchange import Exchange
from receiver.notify.routes import HOPS_HEADER, RouteSettings, forward_name, hops
from receiver.posting import Answer, Headers, kept_headers, post, without
from receiver.rate import Pace
from receiver.retry import RetryPolicy
from receiver.signatures import Scheme, SchemeSpec, build_scheme
from receiver.store.base import Claim

if TYPE_CHECKING:
    import httpx2

POLICY: Final = RetryPolicy()
CIRCUIT: Final = CircuitRules(failures=5, pause_seconds=30.0)
CONCURRENCY: Final = 8
"""Posts to one address at a time: receivers of webhooks don't count on their order."""
TIMEOUT_SECONDS: Final = 20.0

_NOT_PASSED_ON = frozenset(
    # The way it came is nobody else's business; the rest is replaced.
    {"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
     "x-forwarded-port", "x-forwarded-server", "x-real-ip", "true-client-ip",
     "cf-connecting-ip", "user-agent", HOPS_HEADER}
)  # fmt: skip


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class ForwardSettings(RouteSettings, Protocol):
    """The part of a route's settings that is needed here."""

    @property
    def forward_secret(self) -> _Secret | None: ...
    @property
    def allow_private(self) -> bool: ...


class Forward:
    """Posts events to one address. It belongs to the event loop that first uses it."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        scheme: Scheme,
        bounds: Bounds,
        schemes: Mapping[str, Scheme],
        redact: Callable[[str], str],
    ) -> None:
        """`scheme` signs; `schemes` are the sources', whose signatures are not passed on."""
        self.name = name
        self.pace = Pace(None)
        """See `Target.pace`."""
        self._url = url
        self._bounds = bounds
        self._scheme = scheme
        self._always_dropped = _NOT_PASSED_ON | _names(scheme)
        self._dropped = {
            source: self._always_dropped | _names(own) for source, own in schemes.items()
        }
        self._redact = redact
        self.made_of: tuple[object, ...] = ()
        """Another one that is made of the same is the same."""
        self._client: httpx2.AsyncClient | None = None
        self._making = asyncio.Lock()

    async def send(self, claim: Claim) -> SendResult:
        """Post the delivery's event once."""
        event = claim.event
        answer = await post(
            await self._open(),
            self._url,
            event.body,
            self.headers(event, now=time.time()),
            within_seconds=TIMEOUT_SECONDS,
        )
        result = classify(_report(answer), datetime.now(UTC))
        if result.retry_after_seconds is not None:
            self.pace.pause(time.monotonic() + result.retry_after_seconds)
        if result.error is None:
            return result
        return replace(result, error=self._redact(f"{self.name}: {result.error}"))

    def headers(self, event: Event, *, now: float) -> Headers:
        """What goes with the event: as it came, but for what was of its way here, signed anew.

        The id is the event's: it stays the same over all attempts, so that the other side can
        tell that it has it already.
        """
        dropped = self._dropped.get(event.source, self._always_dropped)
        kept = without(kept_headers(event), dropped)
        if not any(name == "content-type" for name, _ in kept):
            kept.append(("content-type", "application/json"))
        return [
            *kept,
            ("user-agent", f"clarihook/{__version__}"),
            (HOPS_HEADER, str(hops(event) + 1)),
            *self._scheme.sign(event.body, message_id=event.id, now=now),
        ]

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _open(self) -> "httpx2.AsyncClient":
        """A client of its own: with a shared one, addresses that hang would use up the others'."""
        async with self._making:
            if self._client is None:
                # In a thread: it loads the machine's certificates.
                self._client = await asyncio.to_thread(
                    guarded_client, self._bounds, timeout=TIMEOUT_SECONDS
                )
                self._client.headers.clear()
        return self._client


def _names(scheme: Scheme) -> frozenset[str]:
    return frozenset(name.decode("latin-1") for name in scheme.headers)


def _report(answer: Answer) -> Report:
    """The answer as what a target's classification takes."""
    seen = Exchange(
        protocol="HTTP",
        status=answer.status or None,
        retry_after=answer.retry_after,
        body=answer.body,
        error_class=answer.error_class,
        error=answer.error,
        may_have_arrived=answer.may_have_arrived,
        is_hopeless=answer.is_refused,
    )
    return Report(is_sent=200 <= answer.status < 300, was_tried=True, exchanges=[seen])


def build_forwards(
    routes: Sequence[ForwardSettings],
    *,
    schemes: Mapping[str, Scheme],
    redact: Callable[[str], str],
    before: Mapping[str, Forward],
) -> dict[str, Forward]:
    """The forwards of the routes, by name. Raises ConfigError with every faulty secret.

    One that is the same in `before` is taken from there.
    """
    forwards: dict[str, Forward] = {}
    problems: list[str] = []
    dropped = frozenset((source, _names(scheme)) for source, scheme in schemes.items())
    for number, route in enumerate(routes, 1):
        if route.forward is None or route.forward_secret is None:
            continue
        name, secret = forward_name(number, route), route.forward_secret.get_secret_value()
        made_of = route.forward.get_secret_value(), secret, route.allow_private, dropped
        if name in before and before[name].made_of == made_of:
            forwards[name] = before[name]
            continue
        try:
            forward = Forward(
                name,
                route.forward.get_secret_value(),
                scheme=signer(secret),
                bounds=configured(allow_private=route.allow_private),
                schemes=schemes,
                redact=redact,
            )
        except ConfigError as error:
            where = f"routes[{number - 1}].forward_secret"
            problems += [f"{where}: {problem}" for problem in error.problems]
        else:
            forward.made_of = made_of
            forwards[name] = forward
    if problems:
        raise ConfigError(*problems)
    return forwards


def signer(secret: str) -> Scheme:
    """Signs by Standard Webhooks. Raises ConfigError for a secret that can't."""
    scheme = build_scheme(SchemeSpec(scheme="standard"), [secret])
    try:
        scheme.sign(b"", message_id="evt", now=0.0)
    except UsageError as error:
        raise ConfigError(str(error)) from None
    return scheme
