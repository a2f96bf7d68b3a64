"""Claiming due deliveries, and loading what they need to run."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from receiver.model import (
    Attachment,
    DeliveryId,
    Event,
    EventId,
    Message,
    Severity,
    from_ms,
)
from receiver.store.base import LIVE, REPLAY, Claim
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries


def claim_due(
    db: "sqlite3.Connection",
    queries: Queries,
    *,
    worker: int,
    wants: Mapping[str, int],
    now_ms: int,
    alone: Collection[str],
    replays: Mapping[str, int],
) -> tuple[list[int], list[str]]:
    """Mark up to `wants[name]` due deliveries of each name as `worker`'s; of them at most
    `replays[name]` are replays.

    Their ids, and the names in `alone` that are another worker's. One suspect goes first, or
    those behind a long backlog would never be told from the others.
    """
    ids: list[int] = []
    elsewhere: list[str] = []
    for name, want in wants.items():
        if name in alone and not take_lane(db, queries, name, worker=worker):
            elsewhere.append(name)
            continue
        rows = db.execute(queries["claim_suspect"], (worker, now_ms, name)).fetchall()
        for priority, most in ((LIVE, want), (REPLAY, replays.get(name, 0))):
            left = min(want - len(rows), most)
            if left > 0:
                rows += db.execute(queries["claim"], (worker, now_ms, name, priority, left))
        ids += [row[0] for row in rows]
    return ids, elsewhere


def take_lane(db: "sqlite3.Connection", queries: Queries, name: str, *, worker: int) -> bool:
    """Whether the lane is this worker's alone: it was already, or it is now."""
    row = db.execute(queries["worker_of_lane"], (name,)).fetchone()
    if row is not None and row[0] == worker:
        return True
    return bool(db.execute(queries["take_lane"], (name, worker)).rowcount == 1)


def load_claims(db: "sqlite3.Connection", queries: Queries, ids: Sequence[int]) -> list[Claim]:
    """The claimed deliveries with their events and messages, in order of id."""
    rows = db.execute(queries["claimed"], (json.dumps(ids),)).fetchall()
    return [_claim(db, queries, row) for row in rows]


def _claim(db: "sqlite3.Connection", queries: Queries, row: Sequence[Any]) -> Claim:
    delivery_id, name, attempts, forgiven, max_attempts, since_ms = row[:6]
    key, replay_id, message_id = row[6:9]
    return Claim(
        delivery_id=DeliveryId(delivery_id),
        name=name,
        event=event_from_row(row[9:18]),
        attempt=attempts,
        tries=attempts - forgiven,
        max_attempts=max_attempts,
        since_ms=since_ms,
        key=key,
        message=_message(db, queries, message_id, row[18:24]) if message_id is not None else None,
        replay_id=replay_id,
        note=row[24],
    )


def event_from_row(row: Sequence[Any], duplicates: int = 0) -> Event:
    """An event from `seq, id, source, type, received_at, body, headers, message_id, secret`."""
    seq, event_id, source, type_, received_ms, body, headers, message_id, secret_index = row
    return Event(
        id=EventId(event_id),
        seq=seq,
        source=source,
        type=type_,
        received_at=from_ms(received_ms),
        body=body,
        header_text=headers,
        message_id=message_id,
        secret_index=secret_index,
        duplicates=duplicates,
    )


def message_from_row(row: Sequence[Any]) -> Message:
    """A message, without its files, from `channel, title, body, severity, format, bodies`."""
    channel, title, body, severity, format_, bodies = row
    return Message(
        channel=channel,
        title=title,
        body=body,
        severity=Severity(severity),
        format=format_,
        bodies={} if bodies is None else json.loads(bodies),
    )


def _message(
    db: "sqlite3.Connection", queries: Queries, message_id: int, row: Sequence[Any]
) -> Message:
    attachments = db.execute(queries["attachments_of"], (message_id,)).fetchall()
    return replace(
        message_from_row(row),
        attachments=tuple(
            Attachment(name=name, content_type=content_type, content=content)
            for name, content_type, content in attachments
        ),
    )
