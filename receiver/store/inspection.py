"""Looking over a whole database: is it sound, what is in it, what is too old.

Each function takes a reader's connection and may take long: it looks at every row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from receiver.store.alive import LifeLock
from receiver.store.driver import sqlite3
from receiver.store.files import lock_path
from receiver.store.ids import first_id_at
from receiver.store.moment import one_moment
from receiver.store.queries import Queries
from receiver.store.workers import is_within_lease

MOST_PROBLEMS = 100
"""So many of each kind are named."""

_FILE = "inspection.sql"
_CHECKS = (
    "broken_states",
    "broken_attempt_numbers",
    "broken_begun_without_attempt",
    "broken_success_without_attempt",
    "broken_heads_of_keys",
    "broken_messages",
    "broken_event_ids",
)
_TABLES = (
    "events", "dedupe_keys", "deliveries", "attempts", "messages", "handler_values", "replays",
    "rejections",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EventCount:
    """The events of one type and source."""

    type: str
    source: str
    events: int
    body_bytes: int
    oldest_ms: int
    newest_ms: int


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is in a database."""

    page_bytes: int
    pages: int
    free_pages: int
    """Pages that hold nothing any more, and are used again."""
    rows: Mapping[str, int]
    """By table."""
    events: tuple[EventCount, ...]
    deliveries: tuple[tuple[str, str, str, int], ...]
    """Kind, name, state, how many."""


@dataclass(frozen=True, kw_only=True)
class Prunable:
    """What is older than the settings keep."""

    events: int
    kept_events: int
    """Old too, but with a delivery that is dead or has not ended."""
    dedupe_keys: int


@dataclass(frozen=True, kw_only=True)
class KnownWorker:
    """A process that has the right to run deliveries, or had it when it died."""

    pid: int
    started_ms: int
    is_alive: bool


def check(db: "sqlite3.Connection", *, is_quick: bool = False) -> list[str]:
    """Everything that is wrong with the file and with what it says, in words; [] if it is sound.

    `is_quick` does not compare the indexes with their tables. All of it sees one moment, so a
    server may write meanwhile. Raises sqlite3.Error for damage that can't be read past.
    """
    queries = Queries.load(_FILE)
    with one_moment(db):
        pragma = "quick_check" if is_quick else "integrity_check"
        found = [
            text
            for (text,) in db.execute(f"PRAGMA {pragma}({MOST_PROBLEMS})").fetchall()
            if text != "ok"
        ]
        found += [
            f"{table} row {rowid}: refers to a row of {parent} that is not there"
            for table, rowid, parent, _ in db.execute("PRAGMA foreign_key_check").fetchall()
        ][:MOST_PROBLEMS]
        for name in _CHECKS:
            found += [text for (text,) in db.execute(queries[name], (MOST_PROBLEMS,)).fetchall()]
    return found


def statistics(db: "sqlite3.Connection") -> Statistics:
    """Count all there is, at one moment."""
    queries = Queries.load(_FILE)
    with one_moment(db):
        pages, page_bytes, free = (
            int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
            for pragma in ("page_count", "page_size", "freelist_count")
        )
        rows = dict(zip(_TABLES, db.execute(queries["row_counts"]).fetchone(), strict=True))
        events = db.execute(queries["event_counts"]).fetchall()
        deliveries = db.execute(queries["delivery_counts"]).fetchall()
    fields = ("type", "source", "events", "body_bytes", "oldest_ms", "newest_ms")
    return Statistics(
        page_bytes=page_bytes,
        pages=pages,
        free_pages=free,
        rows=rows,
        events=tuple(EventCount(**dict(zip(fields, row, strict=True))) for row in events),
        deliveries=tuple(tuple(row) for row in deliveries),
    )


def known_workers(db: "sqlite3.Connection", path: Path) -> list[KnownWorker]:
    """The workers of the database at `path`, and whether they live."""
    life = LifeLock(lock_path(path))
    life.watch()
    try:
        return [
            KnownWorker(
                pid=pid,
                started_ms=started_ms,
                is_alive=is_within_lease(machine, lease_ms) and life.is_held(worker) is not False,
            )
            for worker, pid, started_ms, machine, lease_ms in db.execute(
                Queries.load(_FILE)["known_workers"]
            ).fetchall()
        ]
    finally:
        life.release()


def prunable(db: "sqlite3.Connection", *, events_before_ms: int, keys_before_ms: int) -> Prunable:
    """What `Store.prune` would remove, all calls together."""
    parameters = (first_id_at(events_before_ms), keys_before_ms)
    removable, old, keys = db.execute(Queries.load(_FILE)["prunable"], parameters).fetchone()
    return Prunable(events=removable, kept_events=old - removable, dedupe_keys=keys)
