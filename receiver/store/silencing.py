"""Silences in the database: adding, ending and listing them."""

import json
from collections.abc import Sequence
from typing import Any

from receiver.model import Severity, Silence, from_ms, to_ms
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

_Q = Queries.load("silences.sql")


def add(db: "sqlite3.Connection", silence: Silence) -> int:
    """Keep a new silence; its number."""
    parameters = (
        to_ms(silence.created_at), to_ms(silence.until), silence.author, silence.comment,
        json.dumps(silence.types), json.dumps(silence.sources), json.dumps(silence.channels),
        json.dumps(silence.severities), silence.where,
    )  # fmt: skip
    number = db.execute(_Q["add"], parameters).lastrowid
    assert number is not None, "an insert has a row id"
    return number


def end(db: "sqlite3.Connection", number: int, *, by: str, now_ms: int) -> int | None:
    """End a silence before its time; how many held deliveries it lets go, None if it is over."""
    if db.execute(_Q["end"], (number, now_ms, by)).rowcount != 1:
        return None
    return db.execute(_Q["make_due"], (number, now_ms)).rowcount


def end_of(db: "sqlite3.Connection", number: int) -> int | None:
    """When a silence ends or has ended, in ms; None if it is forgotten."""
    row = db.execute(_Q["end_of"], (number,)).fetchone()
    return None if row is None else int(row[0])


def forget(db: "sqlite3.Connection", *, before_ms: int) -> int:
    """Delete silences that were over by then and hold nothing; how many."""
    return db.execute(_Q["forget"], (before_ms,)).rowcount


def silences(db: "sqlite3.Connection", *, active_ms: int | None) -> list[Silence]:
    """Those that hold messages back at that moment, newest first; with None all."""
    return [_silence(row) for row in db.execute(_Q["list"], (active_ms,)).fetchall()]


def held(db: "sqlite3.Connection") -> dict[int, int]:
    """How many deliveries each silence holds, by its number."""
    return dict(db.execute(_Q["held"]).fetchall())


def _silence(row: Sequence[Any]) -> Silence:
    (number, created_ms, until_ms, author, comment, types, sources, channels, severities, where,
     ended_ms, ended_by) = row  # fmt: skip
    return Silence(
        id=number,
        created_at=from_ms(created_ms),
        until=from_ms(until_ms),
        author=author,
        comment=comment,
        types=tuple(json.loads(types)),
        sources=tuple(json.loads(sources)),
        channels=tuple(json.loads(channels)),
        severities=tuple(Severity(each) for each in json.loads(severities)),
        where=where,
        ended_at=None if ended_ms is None else from_ms(ended_ms),
        ended_by=ended_by,
    )
