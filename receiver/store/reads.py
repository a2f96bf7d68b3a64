"""The reading half of the SQLite store: on threads and connections that can't write."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from receiver.errors import StoreError
from receiver.model import (
    Acknowledgement,
    Attempt,
    Delivery,
    DeliveryId,
    Event,
    EventId,
    Message,
    Outcome,
    Silence,
    State,
    Token,
    from_ms,
)
from receiver.store import acknowledging, silencing, tokens
from receiver.store.base import (
    EVERY_REJECTION,
    DeliveryFilter,
    EventFilter,
    HeldGroup,
    HeldMessage,
    OpenCircuit,
    Rejection,
    RejectionFilter,
    Replay,
    SaidMessage,
)
from receiver.store.claims import event_from_row, message_from_row
from receiver.store.driver import sqlite3
from receiver.store.ids import FIRST, LAST, first_id_at
from receiver.store.queries import Queries

T = TypeVar("T")

_MAX_ID = 2**63 - 1


class SqliteReads:
    """Every query of the Store protocol; `connect` makes a read-only connection."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        connect: Callable[[], "sqlite3.Connection"],
        queries: Queries,
    ) -> None:
        self._threads = threads
        self._connect_read = connect
        self._reads = queries
        self._local = threading.local()
        self._open_readers: list[sqlite3.Connection] = []
        self._watch: sqlite3.Connection | None = None
        self._watch_lock = threading.Lock()

    async def read(self, call: Callable[["sqlite3.Connection"], T]) -> T:
        """Run `call` on a reader's thread and connection. Raises StoreError for SQLite's."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: call(self._reader()))
        except sqlite3.Error as error:
            raise StoreError(f"the store can't be read: {error}") from error

    def _reader(self) -> "sqlite3.Connection":
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect_read()
            self._open_readers.append(connection)
        return connection

    async def close_readers(self) -> None:
        """End the readers' threads and close their connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._open_readers:
            connection.close()
        self._open_readers.clear()

    async def _rows(self, name: str, parameters: Any) -> list[Any]:
        sql = self._reads[name]
        return await self.read(lambda db: db.execute(sql, parameters).fetchall())

    async def due_names(self, names: Sequence[str], *, now_ms: int) -> list[str]:
        """See `Store.due_names`."""
        rows = await self._rows("due_names", (json.dumps(list(names)), now_ms))
        return [row[0] for row in rows]

    async def change_count(self) -> int:
        """See `Store.change_count`."""
        return await self.read(lambda _db: self._data_version())

    def _data_version(self) -> int:
        # SQLite counts for each connection by itself, so only one connection is ever asked.
        with self._watch_lock:
            if self._watch is None:
                self._watch = self._connect_read()
                self._open_readers.append(self._watch)
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    async def silences(self, *, active_ms: int | None = None) -> list[Silence]:
        """See `Store.silences`."""
        return await self.read(lambda db: silencing.silences(db, active_ms=active_ms))

    async def silences_since(self, changes: int | None) -> tuple[int, list[Silence]] | None:
        """See `Store.silences_since`."""

        def look(db: "sqlite3.Connection") -> tuple[int, list[Silence]] | None:
            # The count first: what is committed after it is seen at the next look.
            count = self._data_version()
            if count == changes:
                return None
            return count, silencing.silences(db, active_ms=int(time.time() * 1000))

        return await self.read(look)

    async def held_by_silences(self) -> dict[int, int]:
        """See `Store.held_by_silences`."""
        return await self.read(silencing.held)

    async def tokens(self) -> list[Token]:
        """See `Store.tokens`."""
        return await self.read(tokens.tokens)

    async def find_token(
        self, *, number: int | None = None, digest: bytes | None = None
    ) -> Token | None:
        """See `Store.find_token`."""
        return await self.read(lambda db: tokens.find(db, number=number, digest=digest))

    async def backlog(self) -> int:
        """See `Store.backlog`."""
        return int((await self._rows("count_backlog", ()))[0][0])

    async def spare_bytes(self) -> int:
        """How much of the file is free, for new events too."""

        def look(db: "sqlite3.Connection") -> int:
            pages, size = (
                db.execute(f"PRAGMA {each}").fetchone()[0]
                for each in ("freelist_count", "page_size")
            )
            return int(pages * size)

        return await self.read(look)

    async def count_held(self) -> int:
        """See `Store.count_held`."""
        return int((await self._rows("count_held", ()))[0][0])

    async def waiting(self) -> dict[str, int]:
        """See `Store.waiting`."""
        return dict(await self._rows("count_waiting", ()))

    async def open_circuits(self) -> list[OpenCircuit]:
        """See `Store.open_circuits`."""
        return [OpenCircuit(*row) for row in await self._rows("open_circuits", ())]

    async def dead(self) -> dict[str, int]:
        """See `Store.dead`."""
        return dict(await self._rows("count_dead", ()))

    async def value(self, handler: str, key: str) -> str | None:
        """See `Store.value`."""
        rows = await self._rows("value", (handler, key))
        return rows[0][0] if rows else None

    async def event(self, event_id: str) -> Event | None:
        """See `Store.event`."""
        rows = await self._rows("event", (event_id,))
        return event_from_row(rows[0][:9], rows[0][9]) if rows else None

    async def events(self, which: EventFilter, *, limit: int, newest: bool = True) -> list[Event]:
        """See `Store.events`."""
        name = "events_newest" if newest else "events_oldest"
        rows = await self._rows(name, _event_parameters(which) | {"limit": limit})
        return [event_from_row(row[:9], row[9]) for row in rows]

    async def count_events(self, which: EventFilter) -> int:
        """See `Store.count_events`."""
        return int((await self._rows("count_events", _event_parameters(which)))[0][0])

    async def states_of_events(self, ids: Sequence[str]) -> dict[str, dict[State, int]]:
        """See `Store.states_of_events`."""
        found: dict[str, dict[State, int]] = {event_id: {} for event_id in ids}
        for event_id, state, count in await self._rows("states_of_events", (json.dumps(ids),)):
            found[event_id][State(state)] = count
        return found

    async def latest_handler_states(self, ids: Sequence[str]) -> dict[str, dict[str, State]]:
        """See `Store.latest_handler_states`."""
        found: dict[str, dict[str, State]] = {event_id: {} for event_id in ids}
        for event_id, name, state in await self._rows("latest_handler_states", (json.dumps(ids),)):
            found[event_id][name] = State(state)
        return found

    async def latest_messages(self, ids: Sequence[str]) -> dict[str, list[SaidMessage]]:
        """See `Store.latest_messages`."""
        found: dict[str, list[SaidMessage]] = {event_id: [] for event_id in ids}
        for event_id, message_id, handler, channel, target, state in await self._rows(
            "latest_messages", (json.dumps(ids),)
        ):
            said = SaidMessage(message_id, handler, channel, target, State(state))
            found[event_id].append(said)
        return found

    async def delivery(self, delivery_id: int) -> Delivery | None:
        """See `Store.delivery`."""
        found = await self.deliveries(DeliveryFilter(ids=[delivery_id]), limit=1)
        return found[0] if found else None

    async def deliveries(self, which: DeliveryFilter, *, limit: int) -> list[Delivery]:
        """See `Store.deliveries`."""
        parameters = {
            "after": which.after or 0,
            "before": which.before or _MAX_ID,
            "ids": _array(which.ids),
            "states": _array([state.value for state in which.states]),
            "names": _patterns(which.names),
            "replay_id": which.replay_id,
            "merged_into": which.merged_into,
            "limit": limit,
        }
        return [_delivery(row) for row in await self._rows("deliveries_newest", parameters)]

    async def deliveries_of(self, event_id: str) -> list[Delivery]:
        """See `Store.deliveries_of`."""
        return [_delivery(row) for row in await self._rows("deliveries_of_event", (event_id,))]

    async def deliveries_for_people(self, *, limit: int) -> list[Delivery]:
        """See `Store.deliveries_for_people`."""
        return [_delivery(row) for row in await self._rows("deliveries_for_people", (limit,))]

    async def count_states(self) -> dict[State, int]:
        """See `Store.count_states`."""
        return {State(state): n for state, n in await self._rows("count_states", ())}

    async def attempts(self, delivery_id: int) -> list[Attempt]:
        """See `Store.attempts`."""
        return [_attempt(row) for row in await self._rows("attempts", (delivery_id,))]

    async def message(self, message_id: int) -> Message | None:
        """See `Store.message`."""
        rows = await self._rows("message", (message_id,))
        return message_from_row(rows[0]) if rows else None

    async def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """See `Store.acknowledgement`."""
        return await self.read(lambda db: acknowledging.find(db, event_id))

    async def due_groups(self, *, now_ms: int, limit: int) -> list[HeldGroup]:
        """See `Store.due_groups`."""
        return [HeldGroup(*row) for row in await self._rows("due_groups", (now_ms, limit))]

    async def held_messages(
        self, group: HeldGroup, *, now_ms: int, after: int = 0, limit: int
    ) -> list[HeldMessage]:
        """See `Store.held_messages`."""
        parameters = (*group[:3], now_ms, after, limit)
        return [
            HeldMessage(
                DeliveryId(row[0]),
                event_from_row(row[2:11]),
                message_from_row(row[11:]),
                row[1],
            )
            for row in await self._rows("held_messages", parameters)
        ]

    async def find_replay(self, replay_id: int) -> Replay | None:
        """See `Store.find_replay`."""
        rows = await self._rows("replay", (replay_id,))
        if not rows:
            return None
        counts = await self._rows("count_states_of_replay", (replay_id,))
        id_, created_ms, author, selection, events, rest, is_quiet = rows[0]
        return Replay(
            id=id_,
            created_ms=created_ms,
            author=author,
            selection=selection,
            events=events,
            states={State(state): n for state, n in counts},
            rest=rest,
            is_quiet=bool(is_quiet),
        )

    async def count_in_line(self, replay_id: int) -> int:
        """See `Store.count_in_line`."""
        return int((await self._rows("count_in_line", (replay_id,)))[0][0])

    async def abandoned_replays(self, *, before_ms: int) -> list[int]:
        """See `Store.abandoned_replays`."""
        return [row[0] for row in await self._rows("abandoned_replays", (before_ms,))]

    async def replays(self, *, limit: int) -> list[Replay]:
        """See `Store.replays`."""
        ids = [row[0] for row in await self._rows("replays_newest", (limit,))]
        found = [await self.find_replay(replay_id) for replay_id in ids]
        return [replay for replay in found if replay is not None]

    async def rejections(
        self, which: RejectionFilter = EVERY_REJECTION, *, limit: int
    ) -> list[Rejection]:
        """See `Store.rejections`."""
        fields = ("id", "received_ms", "source", "status", "reason", "headers", "body",
                  "body_bytes", "event_id")  # fmt: skip
        parameters = {
            "ids": _array(which.ids),
            "sources": _patterns(which.sources),
            "statuses": _array(which.statuses),
            "since": which.since_ms,
            "until": which.until_ms,
            "limit": limit,
        }
        rows = await self._rows("rejections_newest", parameters)
        return [Rejection(**dict(zip(fields, row, strict=True))) for row in rows]


def _array(values: Sequence[Any]) -> str | None:
    """A JSON array for `json_each`; None leaves the condition out."""
    return json.dumps(list(values)) if values else None


def _patterns(patterns: Sequence[str]) -> str | None:
    """Patterns for GLOB, in which `?` and `[` would be special too."""
    return _array([re.sub(r"[?[]", r"[\g<0>]", pattern) for pattern in patterns])


def _event_parameters(which: EventFilter) -> dict[str, Any]:
    after = max(
        which.after or FIRST,
        # Shorter than any id of that millisecond, so `>` in the query means "at or after".
        first_id_at(which.since_ms) if which.since_ms is not None else FIRST,
    )
    before = min(
        which.before or LAST,
        first_id_at(which.until_ms) if which.until_ms is not None else LAST,
    )
    return {
        "after": after,
        "before": before,
        "ids": _array(which.ids),
        "types": _patterns(which.types),
        "sources": _patterns(which.sources),
        "states": _array([state.value for state in which.states]),
        "message_states": _array([state.value for state in which.message_states]),
        "names": _array(which.names),
        "channel": which.channel,
        "with_own": which.with_own,
    }


def _delivery(row: Sequence[Any]) -> Delivery:
    (id_, event_id, event_type, kind, name, state, attempts, max_attempts, key, due_ms,
     created_ms, started_ms, finalized_ms, reason, replay_id, message_id, hold_kind,
     hold_group, merged_into, fallback_of, note) = row  # fmt: skip
    return Delivery(
        id=DeliveryId(id_),
        event_id=EventId(event_id),
        event_type=event_type,
        kind=kind,
        name=name,
        state=State(state),
        attempts=attempts,
        max_attempts=max_attempts,
        key=key,
        due_at=from_ms(due_ms),
        created_at=from_ms(created_ms),
        started_at=from_ms(started_ms) if started_ms is not None else None,
        finalized_at=from_ms(finalized_ms) if finalized_ms is not None else None,
        reason=reason,
        replay_id=replay_id,
        message_id=message_id,
        hold_kind=hold_kind,
        hold_group=hold_group,
        merged_into=merged_into,
        fallback_of=fallback_of,
        note=note,
    )


def _attempt(row: Sequence[Any]) -> Attempt:
    (delivery_id, number, started_ms, duration_ms, outcome, error_class, error, traceback,
     status_code, possible_duplicate) = row  # fmt: skip
    return Attempt(
        delivery_id=DeliveryId(delivery_id),
        number=number,
        started_at=from_ms(started_ms),
        duration_ms=duration_ms,
        outcome=Outcome(outcome),
        error_class=error_class,
        error=error,
        traceback=traceback,
        status_code=status_code,
        possible_duplicate=bool(possible_duplicate),
    )
