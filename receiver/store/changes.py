"""The less frequent changes to deliveries: each a function of the writer's connection."""

import json
import time
from collections.abc import Callable, Sequence

from receiver.model import DeliveryId, EventId, NewDelivery
from receiver.store.base import Rejection
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries


def release(
    db: "sqlite3.Connection",
    queries: Queries,
    *,
    worker: int,
    ids: Sequence[int],
    due_ms: int | None,
) -> None:
    """Give claims back unrun, due at `due_ms` or as they were."""
    db.execute(queries["release"], (json.dumps(ids), worker, due_ms))
    if due_ms is not None:
        now = int(time.time() * 1000)
        for name, key in db.execute(queries["stepping_aside"], (json.dumps(ids),)).fetchall():
            db.execute(queries["pass_turn_of_key"], (name, key, now))


def reject(db: "sqlite3.Connection", queries: Queries, rejection: Rejection, *, keep: int) -> None:
    """Keep a refused request, and no more than the latest `keep` of its status."""
    db.execute(
        queries["insert_rejection"],
        (rejection.received_ms, rejection.source, rejection.status, rejection.reason,
         rejection.headers, rejection.body, rejection.body_bytes),
    )  # fmt: skip
    db.execute(queries["trim_rejections"], (keep, rejection.status))


def replay(
    db: "sqlite3.Connection",
    queries: Queries,
    *,
    author: str,
    selection: str,
    deliveries: Sequence[tuple[EventId, Sequence[NewDelivery]]],
    rest: str | None,
    is_quiet: bool,
    now_ms: int,
    next_number: Callable[[], int],
) -> int:
    """Record a replay and its deliveries; its id."""
    replay_id = db.execute(
        queries["insert_replay"],
        (now_ms, author, selection, len(deliveries), rest, int(is_quiet)),
    ).lastrowid
    assert replay_id is not None, "an insert has a row id"
    _insert_replayed(db, queries, replay_id, deliveries, now_ms=now_ms, next_number=next_number)
    return replay_id


def extend_replay(
    db: "sqlite3.Connection",
    queries: Queries,
    replay_id: int,
    *,
    was: str,
    rest: str | None,
    is_open: bool,
    deliveries: Sequence[tuple[EventId, Sequence[NewDelivery]]],
    now_ms: int,
    next_number: Callable[[], int],
) -> bool:
    """Add deliveries to a replay of which `was` is left; False, and nothing, if it is not."""
    driven_at = now_ms if is_open else None
    changed = db.execute(
        queries["extend_replay"], (len(deliveries), rest, replay_id, was, driven_at)
    )
    if changed.rowcount != 1:
        return False
    _insert_replayed(db, queries, replay_id, deliveries, now_ms=now_ms, next_number=next_number)
    return True


def _insert_replayed(
    db: "sqlite3.Connection",
    queries: Queries,
    replay_id: int,
    deliveries: Sequence[tuple[EventId, Sequence[NewDelivery]]],
    *,
    now_ms: int,
    next_number: Callable[[], int],
) -> None:
    keyless: list[tuple[object, ...]] = []
    for event_id, made in deliveries:
        for new in made:
            number = next_number()
            if not new.key:
                keyless.append(
                    (number, event_id, new.kind, new.name, new.max_attempts, new.message_id)
                )
                continue
            db.execute(
                queries["insert_replayed_delivery"],
                (new.name, new.max_attempts, new.key, now_ms, replay_id, event_id, number,
                 new.kind, new.message_id, new.steps_aside),
            )  # fmt: skip
            if new.steps_aside:
                db.execute(queries["pass_turn_of_key"], (new.name, new.key, now_ms))
    if keyless:
        db.execute(queries["insert_replayed_deliveries"], (replay_id, now_ms, json.dumps(keyless)))


def retry(
    db: "sqlite3.Connection", queries: Queries, ids: Sequence[int], *, now_ms: int
) -> list[DeliveryId]:
    """Revive dead deliveries, make waiting ones due, release held ones; those changed."""
    changed: list[DeliveryId] = []
    for delivery_id in ids:
        for statement in ("retry_by_hand", "make_due_now", "release_by_hand"):
            row = db.execute(queries[statement], (now_ms, delivery_id)).fetchone()
            if row is not None:
                changed.append(DeliveryId(delivery_id))
                _, name, key = row
                if key is not None:
                    db.execute(queries["pass_turn_of_key"], (name, key, now_ms))
                break
    return changed


def discard(
    db: "sqlite3.Connection", queries: Queries, ids: Sequence[int], *, reason: str, now_ms: int
) -> list[DeliveryId]:
    """Cancel deliveries that do not run and have not succeeded; those changed."""
    changed: list[DeliveryId] = []
    for delivery_id in ids:
        row = db.execute(queries["discard"], (now_ms, delivery_id, reason)).fetchone()
        if row is None:
            continue
        changed.append(DeliveryId(delivery_id))
        _, name, key = row
        if key is not None:
            db.execute(queries["pass_turn_of_key"], (name, key, now_ms))
    return changed
