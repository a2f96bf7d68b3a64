"""Acknowledgements, and the escalations that they end. Inside the writer's transaction, so that
an escalation is either released or cancelled, and never both."""

import os

from receiver.acknowledge_token import KEY_BYTES
from receiver.model import Acknowledgement, DeliveryId, EventId, from_ms, to_ms
from receiver.store.base import Acknowledged
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

_Q = Queries.load("acknowledging.sql")


def acknowledge(db: "sqlite3.Connection", new: Acknowledgement) -> Acknowledged | None:
    """Keep it, unless there is an earlier one; see `Store.acknowledge`."""
    row = db.execute(_Q["seq_of_event"], (new.event_id,)).fetchone()
    if row is None:
        return None
    (seq,) = row
    now = to_ms(new.at)
    kept = db.execute(_Q["insert_acknowledgement"], (seq, now, new.author, new.how, new.comment))
    reason = f"acknowledged by {new.author}"
    cancelled = db.execute(_Q["cancel_escalations"], (seq, now, reason)).fetchall()
    first = find(db, new.event_id)
    assert first is not None, "it was kept, or there was one"
    ids = [DeliveryId(delivery_id) for (delivery_id,) in cancelled]
    return Acknowledged(first, is_new=kept.rowcount == 1, cancelled=ids)


def find(db: "sqlite3.Connection", event_id: str) -> Acknowledgement | None:
    """Who takes care of an event."""
    row = db.execute(_Q["acknowledgement"], (event_id,)).fetchone()
    if row is None:
        return None
    found, at_ms, author, how, comment = row
    return Acknowledgement(
        event_id=EventId(found), at=from_ms(at_ms), author=author, how=how, comment=comment
    )


def link_key(db: "sqlite3.Connection") -> bytes:
    """The key that signs the links, made at the first call."""
    db.execute(_Q["insert_key"], (os.urandom(KEY_BYTES),))
    key: bytes = db.execute(_Q["key"]).fetchone()[0]
    return key


def why_no_escalation(
    db: "sqlite3.Connection", event_seq: int, target: str, incident: str
) -> str | None:
    """Why a new escalation need not wait: somebody has the event, or another one's waits."""
    row = db.execute(_Q["is_acknowledged"], (event_seq,)).fetchone()
    if row is not None:
        return f"acknowledged by {row[0]}"
    if db.execute(_Q["waiting_escalation"], (incident, target, event_seq)).fetchone() is not None:
        return "an earlier one of the same incident waits already"
    return None
