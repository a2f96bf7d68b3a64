"""The Store protocol: what every room above may ask of durable storage.

Two implementations pass one contract suite (`tests/store/contract.py`). A call that writes
returns only after its change is committed and on stable storage; each is atomic: all of it is
there after a crash, or nothing.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from receiver.holds import Hold, HoldKind
from receiver.model import (
    Acknowledgement,
    Attempt,
    Delivery,
    DeliveryId,
    DeliveryKind,
    Event,
    EventId,
    Message,
    NewDelivery,
    NewEvent,
    Outcome,
    Silence,
    StagedMessage,
    State,
    Token,
)

LIVE = 0
"""Priority of deliveries that live events made."""
REPLAY = 1
"""Priority of a replay's deliveries: they take the place behind live ones."""
SUSPECT = 2
"""Priority of deliveries that have cost processes: each worker runs one of them at a time."""


class Recorded(NamedTuple):
    """The answer to recording an event."""

    event_id: EventId
    """The new event's id; for a duplicate, the first one's."""
    is_duplicate: bool
    seq: int
    """The event's number; 0 for a duplicate."""
    delivery_ids: Sequence[DeliveryId]
    """The new deliveries, in the order given; empty for a duplicate."""


REST_UNTIL = "rest_until"
"""Under this a target's name keeps until when it wants nothing (Retry-After), in Unix ms."""


class Finish(NamedTuple):
    """How a claimed delivery's attempt ended, and all that commits with it."""

    delivery_id: DeliveryId
    number: int
    """Which attempt of the delivery this was, as the claim said."""
    started_ms: int
    duration_ms: float
    state: State
    """Where the delivery goes: succeeded, retrying or dead."""
    outcome: Outcome
    due_ms: int | None = None
    """When a retrying delivery is due."""
    reason: str | None = None
    error_class: str | None = None
    error: str | None = None
    traceback: str | None = None
    status_code: int | None = None
    key: str | None = None
    """The delivery's ordering key; a final state passes the turn to the key's next delivery."""
    messages: tuple[StagedMessage, ...] = ()
    values: Mapping[str, str | None] = {}
    """What the handler keeps in `ctx.store`: JSON text by key, None to delete."""
    deliveries: tuple[NewDelivery, ...] = ()
    """More work on the same event, for handlers."""
    cancels: tuple["CancelHeld", ...] = ()
    """Held deliveries that are not to go out any more."""
    rest_until_ms: int | None = None
    """Until when the target wants nothing; kept as its value `REST_UNTIL`, however this ended."""


class CancelHeld(NamedTuple):
    """Cancels what is held with this kind and group, whatever its target, and says why."""

    kind: HoldKind
    group: str
    reason: str


class Acknowledged(NamedTuple):
    """What became of an acknowledgement."""

    first: Acknowledgement
    """The one that counts: whoever was first."""
    is_new: bool
    """Whether that is the one that was given."""
    cancelled: list[DeliveryId]
    """The escalations that do not go out."""


class HeldGroup(NamedTuple):
    """What is held for one target and goes out together."""

    target: str
    kind: HoldKind
    group: str
    due_ms: int


class HeldMessage(NamedTuple):
    """A delivery that is held, with what it will send; without the message's attachments."""

    delivery_id: DeliveryId
    event: Event
    message: Message
    created_ms: int


class DeadDelivery(NamedTuple):
    """What is told of a delivery that has just become dead."""

    delivery_id: DeliveryId
    kind: DeliveryKind
    name: str
    event_id: EventId
    event_type: str
    source: str
    attempts: int
    reason: str | None
    error_class: str | None
    """Of its last attempt, as is `error`."""
    error: str | None
    channel: str | None
    """Of the message that a target's delivery carries; None for a handler's."""


OnDead = Callable[[DeadDelivery], tuple[NewEvent, Sequence[NewDelivery]] | None]
"""The event that tells of a dead delivery, with its deliveries; None to tell nobody."""


FallBack = Callable[[str], Sequence[NewDelivery]]
"""The deliveries to the targets that get a message when its delivery to that target is dead."""

MakeDigest = Callable[[DeliveryId], Message]
"""The digest that goes out by that delivery. Pure; called on the writer's thread."""


class Claim(NamedTuple):
    """A delivery that is now this worker's to run, with what it needs."""

    delivery_id: DeliveryId
    name: str
    event: Event
    attempt: int
    """1 for the first run."""
    tries: int
    """As `attempt`, counted from the last retry by hand: the schedule goes by it."""
    max_attempts: int
    since_ms: int
    """When it was made, or last revived by hand: its age goes by it."""
    key: str | None = None
    message: Message | None = None
    """What a target's delivery sends; None for a handler's delivery."""
    replay_id: int | None = None
    note: str | None = None
    """Words that this target gets before the message's title."""


class OpenCircuit(NamedTuple):
    """How a target's circuit stands, as far as it outlives its process."""

    name: str
    failures: int
    """In a row; one more for each failed probe."""
    open_until_ms: int | None
    """Nothing is sent before; from then on one at a time is tried. None: it is closed."""
    reason: str | None
    """What the target said last."""


class Claims(list[Claim]):
    """What a worker was given."""

    def __init__(self, claims: Iterable[Claim] = (), *, elsewhere: Collection[str] = ()) -> None:
        super().__init__(claims)
        self.elsewhere = frozenset(elsewhere)
        """Names that are another worker's alone: nothing of these was given."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A request that was refused."""

    received_ms: int
    source: str
    status: int
    reason: str
    headers: str
    body: bytes
    """The whole body of a signed but malformed request; the first bytes of any other."""
    body_bytes: int
    """How long the body was."""
    id: int = 0
    event_id: str | None = None
    """The event that it has become, if it was accepted after the fact."""


@dataclass(frozen=True, kw_only=True)
class RejectionFilter:
    """Which refused requests; every condition given must hold."""

    ids: Sequence[int] = ()
    sources: Sequence[str] = ()
    """Patterns, in which `*` is any characters."""
    statuses: Sequence[int] = ()
    since_ms: int | None = None
    until_ms: int | None = None


EVERY_REJECTION = RejectionFilter()


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events; every condition given must hold. Patterns use `*` for any characters."""

    types: Sequence[str] = ()
    sources: Sequence[str] = ()
    since_ms: int | None = None
    """Received at or after."""
    until_ms: int | None = None
    """Received before."""
    ids: Sequence[str] = ()
    before: str | None = None
    """Ids smaller than this one: the page before it."""
    after: str | None = None
    """Ids larger than this one: the page after it."""
    states: Sequence[State] = ()
    """For some handler, the latest delivery of the event is in one of these states."""
    message_states: Sequence[State] = ()
    """For some message, the latest delivery to some target is in one of these states. If
    `states` are given too, one of the two conditions is enough."""
    names: Sequence[str] = ()
    """The handlers, by their exact names, that `states` and `message_states` look at; none given
    is any."""
    channel: str | None = None
    """The channel whose messages `message_states` looks at; None is any."""
    with_own: bool = True
    """Also those that clarihook raised itself (`receiver.model.INTERNAL_SOURCE`)."""


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries; every condition given must hold."""

    states: Sequence[State] = ()
    names: Sequence[str] = ()
    """Patterns of handler and target names."""
    replay_id: int | None = None
    merged_into: int | None = None
    """Of the digest with this delivery, the messages that are in it."""
    ids: Sequence[int] = ()
    before: int | None = None
    after: int | None = None


class SaidMessage(NamedTuple):
    """A message, and how it stands with one of its targets.

    Messages count until a later run of their handler on that event has said any that were not
    cancelled.
    """

    message_id: int
    handler: str
    channel: str
    target: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recorded repetition of stored events."""

    id: int
    created_ms: int
    author: str
    selection: str
    """What was asked for, in words."""
    events: int
    """How many events it repeats."""
    states: Mapping[State, int] = field(default_factory=dict)
    """How many of its deliveries are in each state now."""
    rest: str | None = None
    """What of the selection has no deliveries yet, as whoever replays wrote it; None if the
    replay was recorded with all of its deliveries."""
    is_quiet: bool = False
    """Whether what its handlers say is only shown."""


class Store(Protocol):
    """Durable storage of events, deliveries, attempts, messages and handler values.

    Any call that writes may raise `StoreUnavailable`: then nothing of it was stored.
    """

    on_dead: OnDead | None
    """Asked, on the writer's thread, for the event that tells of a delivery that becomes dead,
    however it does: it is stored in that same transaction. Pure. Not asked for what a quiet
    replay made."""
    fall_back: FallBack | None
    """Asked, on the writer's thread, when a target's delivery becomes dead: what it says is stored
    in that same transaction, once for each message and target. Pure."""
    on_dead_told: Callable[[int], None] | None
    """Called on the loop after such a commit, with how many deliveries came of it."""

    async def open(self) -> None:
        """Open, bring the schema up to date and, as the owner, take up what a dead one left.

        Raises `StoreLocked`, `SchemaTooNew` or `StoreError`, each with the remedy.
        """

    async def close(self) -> None:
        """Write what is queued, give this worker's claims back and close."""

    def record(
        self,
        event: NewEvent,
        deliveries: Sequence[NewDelivery],
        *,
        claimed: bool = False,
        committed: Callable[[Recorded | None], None] | None = None,
    ) -> Awaitable[Recorded]:
        """Commit an event with its deliveries, or recognise it as a duplicate.

        With `claimed` the deliveries start as this worker's: running, at attempt 1, so that a
        worker with room saves the claim. Concurrent calls share one transaction. `committed`
        is called on the loop with what the caller gets, or None if nothing was stored; it is
        called even if the caller was cancelled.
        """

    async def due_names(self, names: Sequence[str], *, now_ms: int) -> list[str]:
        """Those of `names` that have a delivery due. Cheap: it only reads."""

    async def claim(
        self,
        wants: Mapping[str, int],
        *,
        now_ms: int,
        alone: Collection[str] = (),
        replays: Mapping[str, int] | None = None,
    ) -> Claims:
        """Take up to `wants[name]` due deliveries of each name, live ones before replays.

        Of them at most `replays[name]` are replays, none of a name that is not in it; `None`
        sets no such bound. One that has cost processes before is not counted among them.

        The claim counts the attempt. Of the deliveries with one name and one key only the
        oldest unfinished is ever given out. What is in `alone` is given to one worker only, as
        long as it lives: the first that asks. Not to be cancelled: what it has claimed would be
        nobody's until this worker ends.
        """

    async def take_lane(self, name: str) -> bool:
        """Whether what goes by that name is this worker's alone, as with `claim`'s `alone`."""

    def finish(self, finish: Finish, done: Callable[[BaseException | None], None]) -> None:
        """Commit an attempt's end; `done` is called on the loop after the commit.

        It gets `LeaseLost` if the delivery is no longer this worker's: then nothing of the
        attempt is kept, its messages and values neither.
        """

    async def release(self, ids: Sequence[int], *, due_ms: int | None = None) -> None:
        """Give claims back unrun: their attempt is not counted; due at `due_ms`, or as before."""

    async def heartbeat(self) -> int:
        """Extend this worker's lease and rescue dead workers' deliveries; how many those were."""

    async def has_dead_workers(self) -> bool:
        """Whether the next heartbeat would rescue anything. Cheap: it only reads."""

    async def save_circuit(self, circuit: OpenCircuit) -> None:
        """Keep how a target's circuit stands."""

    async def open_circuits(self) -> list[OpenCircuit]:
        """The circuits that are not closed."""

    async def reject(self, rejection: Rejection) -> None:
        """Keep a refused request in the bounded log of rejections."""

    async def replay(
        self,
        *,
        author: str,
        selection: str,
        deliveries: Iterable[tuple[EventId, Sequence[NewDelivery]]] = (),
        rest: str | None = None,
        is_quiet: bool = False,
        now_ms: int | None = None,
    ) -> int:
        """Record a replay with new deliveries of stored events, behind live ones; its id.

        With `rest` it is only begun: `extend_replay` adds the others in parts. If it is quiet,
        what its handlers say is kept to be seen, and each delivery of it is cancelled at once.
        """

    async def extend_replay(
        self,
        replay_id: int,
        *,
        was: str,
        rest: str | None,
        is_open: bool = True,
        deliveries: Iterable[tuple[EventId, Sequence[NewDelivery]]] = (),
        now_ms: int | None = None,
    ) -> bool:
        """Add deliveries to a replay and replace `was`, what it had left, by `rest`.

        While it is open somebody adds more to it: this call says that they still do.

        False if something else is left by now, because another process has extended, paused or
        cancelled it: then nothing was added. So each part is added exactly once.
        """

    async def retry(self, ids: Sequence[int], *, now_ms: int) -> list[DeliveryId]:
        """Revive dead deliveries with a fresh schedule, make waiting ones due, release held ones
        by themselves; those changed."""

    async def due_groups(self, *, now_ms: int, limit: int) -> list[HeldGroup]:
        """What is held and should go out by now, the longest due first. Cheap: it only reads."""

    async def held_messages(
        self, group: HeldGroup, *, now_ms: int, after: int = 0, limit: int
    ) -> list[HeldMessage]:
        """What of a group is due, oldest first; page on by the id `after`."""

    async def release_held(
        self, group: HeldGroup, ids: Sequence[int], digest: MakeDigest, *, now_ms: int
    ) -> bool:
        """Let these deliveries of a group go out, all of them that are due: one as it is, several
        as the digest, which is a message and a delivery of its own from then on.

        What they leave is cancelled and points to the digest. If a throttle has no room, they are
        held on by that instead. False, and nothing, if one of them is not held so any more.
        """

    async def hold_on(self, ids: Sequence[int], hold: Hold) -> None:
        """Keep held deliveries back for another reason: until then, in the same group."""

    async def cancel_held(self, which: CancelHeld, *, now_ms: int) -> list[DeliveryId]:
        """Cancel what is held with a kind and group; those changed."""

    async def add_silence(self, silence: Silence) -> int:
        """Keep a new silence; its number, which is given here."""

    async def end_silence(self, number: int, *, by: str, now_ms: int) -> int | None:
        """End a silence before its time and make what it holds due; how many deliveries those
        are. None, and nothing, if there is no such silence or it is over."""

    async def silences(self, *, active_ms: int | None = None) -> list[Silence]:
        """The silences that are not over at that moment, newest first; None is all of them."""

    async def silences_since(self, changes: int | None) -> tuple[int, list[Silence]] | None:
        """The silences that are not over now, with what to give at the next call; None if nothing
        has been committed since the call that gave `changes`. Cheap then: no query."""

    async def held_by_silences(self) -> dict[int, int]:
        """How many deliveries each silence holds, by its number; none is left out."""

    async def acknowledge(self, new: Acknowledgement) -> Acknowledged | None:
        """Keep that somebody takes care of an event, and cancel its held escalations.

        None if there is no such event (any more).
        """

    async def link_key(self) -> bytes:
        """32 random bytes, made once: they sign the links in messages. A secret."""

    async def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Who takes care of an event, if anybody has said so."""

    async def add_token(self, new: Token, digest: bytes) -> int | None:
        """Keep a new token by its SHA-256; its number. None if a valid one has that name."""

    async def revoke_token(self, number: int, *, now_ms: int) -> bool:
        """End a token; False if it had been ended before, or there is none."""

    async def use_token(self, number: int, *, now_ms: int) -> None:
        """Note that somebody has signed in with it."""

    async def tokens(self) -> list[Token]:
        """All of them, the oldest first; those that are over too."""

    async def find_token(
        self, *, number: int | None = None, digest: bytes | None = None
    ) -> Token | None:
        """The token of that number, or with that digest."""

    async def discard(self, ids: Sequence[int], *, reason: str, now_ms: int) -> list[DeliveryId]:
        """Cancel deliveries that neither run nor have succeeded; those changed."""

    async def prune(self, *, events_before_ms: int, keys_before_ms: int, limit: int) -> int:
        """Delete up to `limit` events received before, and some dedupe keys; how many events.

        With an event go its deliveries, attempts and messages. One with a delivery that is dead
        or has not ended is kept. Of the dedupe keys seen before `keys_before_ms` each call
        forgets one part in 256, the next call the next.
        """

    async def accept_rejection(self, rejection_id: int, event_id: EventId) -> None:
        """Note which event a refused request has become."""

    async def prune_rejections(self, *, before_ms: int) -> int:
        """Delete the refused requests received before; how many."""

    async def value(self, handler: str, key: str) -> str | None:
        """What a handler keeps under a key, as JSON text."""

    async def event(self, event_id: str) -> Event | None:
        """One event by its id."""

    async def events(self, which: EventFilter, *, limit: int, newest: bool = True) -> list[Event]:
        """Up to `limit` events; page on by `before` or `after`."""

    async def count_events(self, which: EventFilter) -> int:
        """How many events."""

    async def states_of_events(self, ids: Sequence[str]) -> dict[str, dict[State, int]]:
        """For each of these events, how many of its deliveries are in each state."""

    async def latest_handler_states(self, ids: Sequence[str]) -> dict[str, dict[str, State]]:
        """For each of these events, the state of each handler's latest delivery of it."""

    async def latest_messages(self, ids: Sequence[str]) -> dict[str, list[SaidMessage]]:
        """What each handler said last about each of these events, by target."""

    async def count_states(self) -> dict[State, int]:
        """How many deliveries are in each state; states with none are left out."""

    async def delivery(self, delivery_id: int) -> Delivery | None:
        """One delivery by its number."""

    async def deliveries(self, which: DeliveryFilter, *, limit: int) -> list[Delivery]:
        """Up to `limit` deliveries, newest first; page on by `before`."""

    async def deliveries_of(self, event_id: str) -> list[Delivery]:
        """All deliveries of an event, oldest first."""

    async def deliveries_for_people(self, *, limit: int) -> list[Delivery]:
        """What waits for somebody, in the order of being due: up to `limit` escalations, the most
        urgent ones, and as many dead deliveries, the newest. Cheap, however many there are."""

    async def attempts(self, delivery_id: int) -> list[Attempt]:
        """A delivery's attempts, first to last."""

    async def message(self, message_id: int) -> Message | None:
        """A staged message, without its attachments' contents."""

    async def rejections(
        self, which: RejectionFilter = EVERY_REJECTION, *, limit: int
    ) -> list[Rejection]:
        """Up to `limit` refused requests, newest first."""

    async def find_replay(self, replay_id: int) -> Replay | None:
        """A replay with how its deliveries stand now."""

    async def count_in_line(self, replay_id: int) -> int:
        """How many of a replay's deliveries wait for a place to run, or run. Cheap: its cost grows
        with the answer, not with the replay."""

    async def replays(self, *, limit: int) -> list[Replay]:
        """The latest replays, newest first."""

    async def abandoned_replays(self, *, before_ms: int) -> list[int]:
        """Open replays that nobody has added to since, or said that they would; oldest first."""

    async def take_over_replay(self, replay_id: int, *, before_ms: int, now_ms: int) -> bool:
        """Say that this process adds to a replay now; False if another one has since said so."""

    async def backlog(self) -> int:
        """How many deliveries wait to run. One query, its cost grows with the answer."""

    async def count_held(self) -> int:
        """How many deliveries are held."""

    async def waiting(self) -> dict[str, int]:
        """How many deliveries wait to run, by the name of their handler or target."""

    async def dead(self) -> dict[str, int]:
        """How many deliveries are dead, by the name of their handler or target."""

    async def change_count(self) -> int:
        """A number that differs whenever another connection has committed since the last call."""
