"""What a handler is given beside its event: the API client, a store, a way to speak."""

import difflib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, get_args

from receiver.errors import ConfigError
from receiver.model import Attachment, Event, Message, MessageFormat, Severity
from receiver.templates.values import listing

if TYPE_CHECKING:  # slow to import, and many handlers use none of them
    import httpx2
    import structlog

    from claribi import AsyncClariBI
    from receiver.templates.library import Templates

MAX_VALUE_BYTES = 64 * 1024
MAX_KEY_LENGTH = 200
MAX_MESSAGES = 100
_NO_VALUES: Mapping[str, Any] = {}


class Resources(Protocol):
    """What all contexts of a process share; dispatch makes one and owns its closing."""

    @property
    def channels(self) -> Collection[str]:
        """The names of the configured channels."""

    @property
    def templates(self) -> "Templates":
        """The deployment's message templates."""

    def claribi(self) -> "AsyncClariBI":
        """The API client made from `[claribi]`; ConfigError says what to set if there is none."""

    def http(self) -> "httpx2.AsyncClient":
        """A pooled HTTP client."""

    async def kv_get(self, handler_name: str, key: str) -> str | None:
        """The JSON text that this handler last committed under the key."""


class HandlerStore:
    """A small durable key/value space of one handler. Values are JSON, up to 64 KiB.

    Writes are staged, as messages are: they are committed together with the handler's success,
    so a run that fails and is tried again does not count twice. Reads see what this run wrote.
    """

    __slots__ = ("_handler_name", "_resources", "staged")

    def __init__(self, handler_name: str, resources: Resources) -> None:
        self._handler_name = handler_name
        self._resources = resources
        self.staged: dict[str, str | None] = {}
        """What to commit: JSON text by key; None deletes."""

    async def get(self, key: str, default: Any = None) -> Any:
        """The value under the key, or `default` if there is none."""
        if key in self.staged:
            text = self.staged[key]
        else:
            text = await self._resources.kv_get(self._handler_name, _checked_key(key))
        return default if text is None else json.loads(text)

    async def set(self, key: str, value: Any) -> None:
        """Keep a JSON value under the key, from this run's success on.

        Raises TypeError for what is not JSON, ValueError for what is too large.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
        if size > MAX_VALUE_BYTES:
            raise ValueError(f"ctx.store: {key!r} would be {size} bytes; 65,536 is the most")
        self.staged[_checked_key(key)] = text

    async def delete(self, key: str) -> None:
        """Forget the key, from this run's success on; no error if there is no such key."""
        self.staged[_checked_key(key)] = None


class Context:
    """One run of a handler. Made once per attempt, so everything costly waits until used."""

    __slots__ = (
        "_deadline", "_handler_name", "_log", "_replay_id", "_resources", "_store",
        "attempt", "event", "notes", "staged",
    )  # fmt: skip

    def __init__(
        self,
        *,
        event: Event,
        handler_name: str,
        resources: Resources,
        attempt: int = 1,
        deadline: float | None = None,
        replay_id: int | None = None,
    ) -> None:
        """`deadline` is Unix time in seconds: when this run will be cut off."""
        self.event = event
        """The event as stored: id, source, type, exact body, headers."""
        self.attempt = attempt
        """1 on the first run of this delivery, 2 on the next, …"""
        self.staged: list[Message] = []
        """What `notify` was given, in order; committed with the handler's success."""
        self.notes: list[str] = []
        """What was said otherwise than it should, and why; kept with the delivery."""
        self._handler_name = handler_name
        self._resources = resources
        self._deadline = deadline
        self._replay_id = replay_id
        self._store: HandlerStore | None = None
        self._log: Any = None

    @property
    def claribi(self) -> "AsyncClariBI":
        """The clariBI API client, shared and already signed in.

        Raises ConfigError, naming the settings, if `[claribi]` is not configured.
        """
        return self._resources.claribi()

    @property
    def http(self) -> "httpx2.AsyncClient":
        """A pooled HTTP client, shared by all handlers: don't close it."""
        return self._resources.http()

    @property
    def store(self) -> HandlerStore:
        """This handler's durable key/value space."""
        if self._store is None:
            self._store = HandlerStore(self._handler_name, self._resources)
        return self._store

    @property
    def staged_values(self) -> dict[str, str | None]:
        """The store's writes of this run, for dispatch to commit: JSON text, None deletes."""
        return {} if self._store is None else self._store.staged

    @property
    def log(self) -> "structlog.typing.FilteringBoundLogger":
        """A structured logger that already says which handler, event and attempt this is."""
        if self._log is None:
            import structlog  # noqa: PLC0415 - takes 0.1 s, which `--version` need not pay

            self._log = structlog.get_logger("receiver.handlers").bind(
                handler=self._handler_name, event_id=self.event.id, attempt=self.attempt
            )
        log: structlog.typing.FilteringBoundLogger = self._log
        return log

    @property
    def replaying(self) -> bool:
        """Whether this is a replay of a stored event, not its first delivery."""
        return self._replay_id is not None

    @property
    def idempotency_key(self) -> str:
        """Equal for all attempts of this event at this handler; another one in each replay.

        Give it to an API that takes one, and a retry has no second effect there.
        """
        replay = "" if self._replay_id is None else f"/replay-{self._replay_id}"
        return f"{self.event.id}/{self._handler_name}{replay}"

    @property
    def deadline(self) -> datetime | None:
        """When this run will be cut off, aware UTC; None for never."""
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

    @property
    def seconds_left(self) -> float:
        """How long this run may still take, in seconds; infinite without a deadline."""
        return float("inf") if self._deadline is None else self._deadline - time.time()

    def notify(
        self,
        channel: str,
        *,
        title: str = "",
        body: str = "",
        severity: Severity | str = Severity.INFO,
        format: MessageFormat = "text",  # noqa: A002 - the word that authors expect
        attachments: Iterable[Attachment] = (),
        template: str | None = None,
        values: Mapping[str, Any] = _NO_VALUES,
    ) -> None:
        """Stage a message to a channel. It goes out once this handler has succeeded.

        With a template, that has the body, in every format that it exists in, and the title, if
        none is given; `values` are what it can speak of beside the event. Without one, and
        without a body, the title is the body too. A run that fails sends nothing, so a retry
        can't say a thing twice. Raises ConfigError for a channel that is not configured and a
        template that there is not, ValueError for what is no severity, no format, no text, or
        more than 100 messages. A template that fails raises nothing: a plain message is sent.
        """
        self._check_channel(channel)
        bodies: Mapping[MessageFormat, str] = {}
        if template is not None:
            if body:
                raise ValueError("ctx.notify: give a template or a body, not both")
            made, body, bodies = self._render(template, _severity(severity), values)
            title = title or made
        if format not in get_args(MessageFormat):
            raise ValueError(f"format {format!r}: use text, markdown or html")
        if not (title.strip() or body.strip()):
            raise ValueError("ctx.notify: a message needs a title or a body")
        if len(self.staged) >= MAX_MESSAGES:
            raise ValueError(f"ctx.notify: more than {MAX_MESSAGES} messages in one run")
        self.staged.append(
            Message(
                channel=channel,
                title=title,
                body=body if body.strip() else title,
                severity=_severity(severity),
                format=format,
                attachments=tuple(attachments),
                bodies=bodies,
            )
        )

    def _render(
        self, template: str, severity: Severity, values: Mapping[str, Any]
    ) -> tuple[str, str, Mapping[MessageFormat, str]]:
        """The title, the text and the other bodies that a template makes of the event."""
        templates = self._resources.templates
        if template not in templates:
            raise ConfigError(f"handler {self._handler_name}: {templates.hint(template)}")
        title, bodies, notes = templates.render(template, self.event, severity, values)
        for note in notes:
            self.log.warning("template.failed", problem=note)
        self.notes += notes
        text = bodies.get("text", listing(self.event.json))
        others: dict[MessageFormat, str] = {
            format_: said for format_, said in bodies.items() if said and format_ != "text"
        }
        return title or self.event.type, text, others

    def _check_channel(self, channel: str) -> None:
        known = self._resources.channels
        if channel in known:
            return
        near = difflib.get_close_matches(channel, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise ConfigError(
            f"handler {self._handler_name}: no channel {channel!r}; {hint} "
            f"A channel is made by [channels.{channel}] in config/clarihook.toml"
        )


def _severity(severity: Severity | str) -> Severity:
    try:
        return Severity(severity)
    except ValueError:
        raise ValueError(f"severity {severity!r}: use {', '.join(Severity)}") from None


def _checked_key(key: str) -> str:
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise ValueError(f"ctx.store: a key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}")
    return key
