"""Held deliveries: which are held, until when, and how they go out. Inside the writer's
transaction, so that a timer or a count and the delivery it decides about commit together."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from receiver.holds import Hold, Throttle
from receiver.model import DeliveryId, NewDelivery, State, format_delivery_id
from receiver.store import silencing
from receiver.store.base import CancelHeld, HeldGroup, MakeDigest
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

_Q = Queries.load("holding.sql")


class Place(NamedTuple):
    """Where a new delivery to a target begins."""

    state: State
    due_ms: int
    reason: str | None = None
    kind: str | None = None
    group: str | None = None
    throttle: str | None = None
    """What is counted when it goes out, as JSON."""
    silence: int | None = None


def place(db: "sqlite3.Connection", new: NewDelivery, now_ms: int) -> Place:
    """Held or to be sent now; moves the timer or the count that decides it."""
    hold = new.hold
    if hold is None:
        return Place(State.PENDING, now_ms)
    if hold.kind == "throttle":
        assert hold.throttle is not None, "what is throttled has a throttle"
        due = _due_of_group(db, new.name, hold.kind, hold.group)
        due = due if due is not None else _pass_throttle(db, new.name, hold.throttle, now_ms)
        if due is None:
            return Place(State.PENDING, now_ms)
    elif hold.until_ms is not None:
        due = _end_of_hold(db, hold, hold.until_ms)
    else:
        due = _due_of_group(db, new.name, hold.kind, hold.group)
        due = due if due is not None else _due_of_next(db, new.name, hold, now_ms)
    if hold.every_ms:
        db.execute(_Q["set_span"], (new.name, hold.group, hold.every_ms))
    counted = hold.throttle if hold.kind not in ("throttle", "escalation") else None
    return Place(
        State.HELD, due, hold.reason, hold.kind, hold.group,
        None if counted is None else json.dumps(counted), hold.silence,
    )  # fmt: skip


def release(
    db: "sqlite3.Connection",
    group: HeldGroup,
    ids: Sequence[int],
    digest: MakeDigest,
    *,
    now_ms: int,
    next_number: Callable[[], int],
) -> bool:
    """Let a group's deliveries go; see `Store.release_held`."""
    target, kind, key = group.target, group.kind, group.group
    row = db.execute(_Q["newest_held"], (json.dumps(ids), target, kind, key)).fetchone()
    if row is None:
        return False
    (newest,) = row
    member = db.execute(_Q["held_member"], (newest,)).fetchone()
    event_seq, max_attempts, counted, said_by = member
    if counted is not None and not _has_room(db, target, ids, counted, now_ms):
        return True
    if len(ids) == 1:
        db.execute(_Q["release_one"], (newest, now_ms))
    else:
        number = DeliveryId(next_number())
        message = digest(number)
        priority, replay_id = db.execute(_Q["common_fate"], (json.dumps(ids),)).fetchone()
        message_id = db.execute(
            _Q["insert_digest_message"],
            (said_by, message.channel, message.title, message.body, message.severity.value,
             message.format, len(ids)),
        ).lastrowid  # fmt: skip
        db.execute(
            _Q["insert_digest"],
            (number, event_seq, target, priority, max_attempts, now_ms, message_id, replay_id),
        )
        reason = f"sent in the digest {format_delivery_id(number)}"
        db.execute(_Q["merge"], (json.dumps(ids), now_ms, reason, number))
    _start_timers(db, group, now_ms)
    return True


def _has_room(
    db: "sqlite3.Connection", target: str, ids: Sequence[int], counted: str, now_ms: int
) -> bool:
    """Whether the throttle lets one more message go; else it holds these from now on."""
    throttle = Throttle(*json.loads(counted))
    due = _due_of_group(db, target, "throttle", throttle.key)
    due = due if due is not None else _pass_throttle(db, target, throttle, now_ms)
    if due is None:
        return True
    reason = f"over {throttle.limit} in {throttle.window_ms / 1000:g} s when its turn came"
    db.execute(_Q["hold_by_throttle"], (json.dumps(ids), throttle.key, due, reason))
    return False


def _start_timers(db: "sqlite3.Connection", group: HeldGroup, now_ms: int) -> None:
    """The next of what has just gone out waits for its `every`, or for its window's end."""
    target, kind, key, _ = group
    if kind == "throttle":
        # The summary of a window is the first message of the next one.
        db.execute(_Q["restart_window"], (target, key, now_ms))
    elif kind != "escalation":
        db.execute(_Q["start_span"], (target, key, now_ms))
    if kind in ("group", "throttle"):
        row = db.execute(_Q["timer"], (target, kind, key)).fetchone()
        if row is not None:
            db.execute(_Q["wait_for_next"], (target, kind, key, row[0]))


def hold_on(db: "sqlite3.Connection", ids: Sequence[int], hold: Hold) -> None:
    """Keep held deliveries back for another reason; see `Store.hold_on`."""
    assert hold.until_ms is not None, "it says until when"
    due = _end_of_hold(db, hold, hold.until_ms)
    db.execute(_Q["hold_on"], (json.dumps(ids), hold.kind, due, hold.reason, hold.silence))


def cancel_held(db: "sqlite3.Connection", which: CancelHeld, *, now_ms: int) -> list[DeliveryId]:
    """Cancel what is held with a kind and group; those changed."""
    rows = db.execute(_Q["cancel_held"], (*which, now_ms)).fetchall()
    return [DeliveryId(delivery_id) for (delivery_id,) in rows]


def forget_timers(db: "sqlite3.Connection", *, before_ms: int) -> int:
    """Remove the timers that hold nothing back any more; how many."""
    return db.execute(_Q["forget_timers"], (before_ms,)).rowcount


def _end_of_hold(db: "sqlite3.Connection", hold: Hold, until_ms: int) -> int:
    """Until then; or earlier, if it is a silence that somebody has ended meanwhile."""
    if hold.silence is None:
        return until_ms
    end_ms = silencing.end_of(db, hold.silence)
    return until_ms if end_ms is None else min(until_ms, end_ms)


def _due_of_group(db: "sqlite3.Connection", target: str, kind: str, group: str) -> int | None:
    """When the group goes out that is held already."""
    (due,) = db.execute(_Q["due_of_group"], (target, kind, group)).fetchone()
    return None if due is None else int(due)


def _due_of_next(db: "sqlite3.Connection", target: str, hold: Hold, now_ms: int) -> int:
    """When a group goes out that begins now."""
    row = db.execute(_Q["timer"], (target, "group", hold.group)).fetchone()
    # A clock that was put back, or an `every` that was made shorter, must not hold for ever.
    until_ms = 0 if row is None else min(row[0], now_ms + hold.every_ms)
    return until_ms if until_ms > now_ms else now_ms + hold.wait_ms


def _pass_throttle(
    db: "sqlite3.Connection", target: str, throttle: Throttle, now_ms: int
) -> int | None:
    """Count one that goes out now; or, if there is no room for it, when the window ends."""
    row = db.execute(_Q["timer"], (target, "throttle", throttle.key)).fetchone()
    until_ms, sent = row or (0, 0)
    until_ms = min(until_ms, now_ms + throttle.window_ms)
    if until_ms <= now_ms:
        until_ms, sent = now_ms + throttle.window_ms, 0
    if sent >= throttle.limit:
        return int(until_ms)
    db.execute(
        _Q["set_timer"],
        (target, "throttle", throttle.key, until_ms, throttle.window_ms, sent + 1),
    )
    return None
