"""The words of clarihook as types: events, deliveries, attempts, messages and their states."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, NamedTuple, NewType

from receiver.holds import Escalation, Hold, HoldKind, NoiseOptions

EventId = NewType("EventId", str)
"""`evt_` and 32 hex digits; sorts by time of arrival."""

DeliveryId = NewType("DeliveryId", int)
"""A positive number below 2**63 that grows with time; people and JSON see `dlv_` and its hex."""

DeliveryKind = Literal["handler", "target"]

INTERNAL_SOURCE = "clarihook"
"""The source of the events that clarihook itself raises; no configured one may be named so."""
INTERNAL_PREFIX = "clarihook."
"""What the types of such events begin with; no sender's may."""


def is_internal(source: str, event_type: str) -> bool:
    """Whether clarihook itself raised an event.

    >>> is_internal("clarihook", "clarihook.delivery.dead"), is_internal("shop", "clarihook.x")
    (True, False)
    """
    return source == INTERNAL_SOURCE and event_type.startswith(INTERNAL_PREFIX)


class State(StrEnum):
    """Where a delivery is. Each member says who moves it next."""

    PENDING = "pending"
    """A worker claims it once its `due_at` has come."""
    RUNNING = "running"
    """The worker that claimed it finishes it; if that worker dies, a rescue does."""
    RETRYING = "retrying"
    """A worker claims it again once its `due_at` has come."""
    HELD = "held"
    """The releaser lets it go, or merges it into a digest, once its `due_at` has come."""
    SUCCEEDED = "succeeded"
    """Nobody: final."""
    DEAD = "dead"
    """A person, by `deliveries retry` or `deliveries discard`: final until then."""
    CANCELLED = "cancelled"
    """Nobody: final."""

    @property
    def is_final(self) -> bool:
        """Whether the delivery has ended (`finalized_at` is set in just these states)."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})
WAITING_STATES = frozenset({State.PENDING, State.RETRYING})

MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.HELD, State.CANCELLED}),
    State.RUNNING: frozenset(
        # Back to pending or retrying without an outcome: a graceful stop gave it back.
        {State.SUCCEEDED, State.RETRYING, State.DEAD, State.PENDING}
    ),
    State.RETRYING: frozenset({State.RUNNING, State.HELD, State.CANCELLED}),
    State.HELD: frozenset({State.PENDING, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.DEAD: frozenset({State.PENDING, State.CANCELLED}),
    State.CANCELLED: frozenset(),
}
"""Every allowed move of a delivery; the store refuses any other, the docs are drawn from it."""


class Outcome(StrEnum):
    """How one attempt ended."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    """Failed in a way that may pass: it is tried again."""
    PERMANENT = "permanent"
    """Can't succeed by trying again."""
    UNKNOWN = "unknown"
    """Cut off after it began: it may have had its effect, a retry may repeat it."""


class Severity(StrEnum):
    """How much a message matters, least first."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in that order, from 0."""
        return tuple(Severity).index(self)


MessageFormat = Literal["text", "markdown", "html"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One accepted webhook, as it came. `body` is the exact raw bytes."""

    id: EventId
    seq: int
    """Its number in this store: larger is later."""
    source: str
    type: str
    received_at: datetime
    body: bytes
    header_text: str = ""
    """Its headers as the store keeps them; see `headers`."""
    message_id: str | None = None
    """The sender's own id of the message, where its scheme has one."""
    secret_index: int | None = None
    """Which of the source's secrets verified it, counted from 0; None if it came unsigned."""
    duplicates: int = 0
    """How many more times the same message came; it ran only once."""

    @cached_property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Name and value in order of arrival, names in lower case, credentials masked."""
        return parse_headers(self.header_text)

    @cached_property
    def json(self) -> Any:
        """The body as JSON values. Parsed once."""
        return json.loads(self.body)


class NewEvent(NamedTuple):
    """An event about to be recorded. A tuple, not a dataclass: one is made per request."""

    id: EventId
    source: str
    type: str
    received_ms: int
    """Unix time in milliseconds."""
    body: bytes
    headers: str
    """`name: value` lines, joined by CRLF, credentials masked."""
    message_id: str | None
    secret_index: int | None
    dedupe_key: bytes
    """32 bytes (SHA-256); unique per source for as long as the store keeps it."""
    duplicates: int = 0
    """How many more times it had come already: not 0 for one that another store had."""


class NewDelivery(NamedTuple):
    """A unit of work to be created: for one handler, or for one target."""

    kind: DeliveryKind
    name: str
    """The handler's name, or the target's (`channel/target`; the slash tells them apart)."""
    max_attempts: int
    key: str | None = None
    """Deliveries with one name and one key run in order of arrival, one at a time."""
    message_id: int | None = None
    """The stored message that a replay's delivery to a target sends once more."""
    steps_aside: bool = False
    """While it waits for a retry, the next of its key may run; else it holds its key back."""
    hold: Hold | None = None
    """What keeps a target's delivery back; None sends it at once."""
    note: str | None = None
    """Words that this target gets before the message's title."""


def stand_in_name(prefix: str) -> str:
    """The name of the deliveries that wait for a broken handler file; no handler can have it."""
    return f"{prefix}.*"


def is_stand_in(name: str) -> bool:
    """Whether a delivery of that name waits for a handler file, not for a handler.

    >>> is_stand_in(stand_in_name("report_generated"))
    True
    """
    return name.endswith(".*")


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a handler or a route wants to say, before it becomes one delivery per target."""

    channel: str
    title: str
    body: str
    severity: Severity = Severity.INFO
    format: MessageFormat = "text"
    attachments: tuple["Attachment", ...] = ()
    bodies: Mapping[MessageFormat, str] = field(default_factory=dict, hash=False)
    """The same said in other formats than `format`: each target takes what suits its service."""
    whole_at: str = field(default="", compare=False)
    """Where all of it can be read, an address or a command: named where the text is cut. Set when
    it is sent, and not stored."""
    noise: NoiseOptions | None = field(default=None, compare=False, repr=False)
    """How a route wants it grouped and throttled, in place of the channel's rules. It decides
    when the message is staged, and is not stored."""
    escalations: tuple[Escalation, ...] = field(default=(), compare=False, repr=False)
    """Where it goes next if nobody acknowledges its event; not stored either."""

    def noted(self, note: str | None) -> "Message":
        """As a target gets it whose delivery has a note: the note comes before the title.

        >>> Message(channel="ops", title="It failed", body="").noted("Not for 15m").title
        'Not for 15m: It failed'
        """
        if note is None:
            return self
        return replace(self, title=f"{note}: {self.title}" if self.title else note)

    def body_in(self, *formats: MessageFormat) -> tuple[str, MessageFormat]:
        """The body in the first of these formats that there is, and which it is; else `body`.

        >>> said = Message(channel="ops", title="Low", body="3 left", bodies={"html": "<p>3"})
        >>> said.body_in("html", "text"), said.body_in("markdown")
        (('<p>3', 'html'), ('3 left', 'text'))
        """
        renderings = {**self.bodies, self.format: self.body}
        chosen = next((each for each in formats if each in renderings), self.format)
        return renderings[chosen], chosen


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that goes with a message; always bytes that we made or fetched ourselves."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """That somebody takes care of an event: it escalates no further."""

    event_id: EventId
    at: datetime
    author: str
    how: Literal["command", "link", "console"]
    comment: str | None = None


class StagedMessage(NamedTuple):
    """A message that was staged, and the deliveries that carry it to its targets."""

    message: Message
    deliveries: tuple[NewDelivery, ...]


class Role(StrEnum):
    """What a token's bearer may do in the console."""

    VIEWER = "viewer"
    """Look at everything."""
    OPERATOR = "operator"
    """And act: acknowledge events."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """Lets a person into the console. The store keeps a digest of it, never the token."""

    id: int = 0
    name: str
    """Whose it is; what is done with it is noted under this name."""
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    """When it ends by itself; None is never."""
    used_at: datetime | None = None
    """When somebody last signed in with it."""
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it still opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Keeps messages back for a while, because somebody said so. Every condition given must hold;
    of several values of one, any. Patterns use `*` for any characters.
    """

    id: int = 0
    created_at: datetime
    until: datetime
    """When it ends by itself."""
    author: str
    comment: str
    types: tuple[str, ...] = ()
    """Patterns of event types."""
    sources: tuple[str, ...] = ()
    """Patterns of sources."""
    channels: tuple[str, ...] = ()
    """Patterns of channels."""
    severities: tuple[Severity, ...] = ()
    where: str | None = None
    """A condition on the event, in CEL."""
    ended_at: datetime | None = None
    """When somebody ended it, before its time."""
    ended_by: str | None = None

    @property
    def ends_at(self) -> datetime:
        """From when on it holds nothing back."""
        return self.until if self.ended_at is None else min(self.until, self.ended_at)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One unit of durable work, as stored."""

    id: DeliveryId
    event_id: EventId
    event_type: str
    kind: DeliveryKind
    name: str
    state: State
    attempts: int
    """How many runs were claimed; a claim counts even if its process dies."""
    max_attempts: int
    """How many runs it may have, with those from before it was revived by hand."""
    key: str | None
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    finalized_at: datetime | None
    reason: str | None
    """Why it is in this state, in words: a skip's reason, the error that made it dead."""
    replay_id: int | None
    message_id: int | None
    """The stored message that a target's delivery sends; None for a handler's delivery."""
    hold_kind: HoldKind | None = None
    """What holds it, while it is held; of a cancelled escalation, that it was one."""
    hold_group: str | None = None
    merged_into: DeliveryId | None = None
    """The delivery of the digest in which its message went out, instead of by itself."""
    note: str | None = None
    """Words that its target gets before the message's title."""
    fallback_of: DeliveryId | None = None
    """The dead delivery whose message it carries to the fallback of that target's channel."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of a delivery."""

    delivery_id: DeliveryId
    number: int
    """1 for the first."""
    started_at: datetime
    duration_ms: float
    outcome: Outcome
    error_class: str | None = None
    error: str | None = None
    """What went wrong, secrets masked, at most 2 KiB."""
    traceback: str | None = None
    status_code: int | None = None
    """The HTTP status that a target answered, where it speaks HTTP."""
    possible_duplicate: bool = False
    """An attempt before it ended as `unknown`: what it sent may have arrived twice."""


def to_ms(moment: datetime) -> int:
    """An aware moment as Unix milliseconds, the form in which the store keeps time."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Unix milliseconds as an aware UTC moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def format_delivery_id(delivery_id: int) -> str:
    """How people and JSON see a delivery's id: a number of this size is no safe JSON number.

    >>> format_delivery_id(913247681085571072)
    'dlv_cac7ee4f0801000'
    """
    return f"dlv_{delivery_id:x}"


def parse_delivery_id(text: str) -> DeliveryId:
    """The reverse of `format_delivery_id`; raises ValueError for anything else."""
    prefix, _, digits = text.partition("_")
    if prefix != "dlv" or not 0 < len(digits) <= 16:
        raise ValueError(f"{text!r} is no delivery id; they look like dlv_cac7ee4f0801000")
    return DeliveryId(int(digits, 16))


def parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    """The stored header lines back as pairs, in order."""
    pairs: list[tuple[str, str]] = []
    for line in text.split("\r\n"):
        name, separator, value = line.partition(": ")
        if separator:
            pairs.append((name, value))
    return tuple(pairs)


def format_headers(pairs: Sequence[tuple[str, str]]) -> str:
    """Header pairs as the text that the store keeps; the reverse of `parse_headers`."""
    return "\r\n".join(f"{name}: {value}" for name, value in pairs)
