"""Fills a database with deliveries that wait, as a long outage would leave it.

    python benchmarks/backlog.py HOME --pending 1000000 --name nothing.nothing

Plain SQL against a migrated file, without syncing: half a minute for a million.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from receiver.store.driver import sqlite3
from receiver.store.ids import first_number_at
from receiver.store.opening import connect_writer

EVENT = "data_source.sync_completed"
_DAY_MS = 86_400_000

_EVENTS = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
INSERT INTO events (seq, id, source, type, received_at, body, headers, secret_index, dedupe_key)
SELECT
    :first_number + (n << 12),
    printf('evt_%012x', :first_ms + (n >> 10)) || lower(hex(randomblob(10))),
    'claribi',
    :type,
    :first_ms + (n >> 10),
    CAST(printf(
        '{"event": "%s", "timestamp": "2025-07-15T08:00:00Z", "data": {"data_source_id": %d, '
        || '"data_source_name": "Production PostgreSQL of the northern region", "records_synced": '
        || '%d, "duration_seconds": %d, "triggered_by": "schedule", "note": "%s"}}',
        :type, n, n % 100000, n % 600, lower(hex(randomblob(40)))
    ) AS BLOB),
    'host: hooks.example.com' || char(13, 10)
        || 'user-agent: clariBI-Webhooks/1.0' || char(13, 10)
        || 'content-type: application/json' || char(13, 10)
        || 'x-claribi-signature: t=1752566400,v1=' || lower(hex(randomblob(32))),
    0,
    randomblob(32)
FROM numbers
"""
_DEDUPE_KEYS = """
INSERT INTO dedupe_keys (source, key, event_id, seen_at)
SELECT source, dedupe_key, id, received_at
FROM events
WHERE seq >= :first_number
ORDER BY dedupe_key
"""
# Of a key the first is the head, the others wait for it: as recording them would have made it.
_DELIVERIES = """
INSERT INTO deliveries (
    id, event_seq, kind, name, state, max_attempts, due_at, created_at, key, waits_for_key
)
SELECT
    seq + 2,
    seq,
    'handler',
    :name,
    'pending',
    8,
    received_at + :later_ms,
    received_at,
    iif(:keys = 0, NULL, 'key ' || (n % :keys)),
    :keys > 0 AND n >= :keys
FROM (SELECT seq, received_at, (seq - :first_number) >> 12 AS n FROM events)
WHERE n BETWEEN 0 AND :last
ORDER BY seq
"""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What waits in the file."""

    pending: int
    name: str | None
    """Whose deliveries they are; None for events that nobody handles."""
    due: Literal["now", "later"] = "now"
    keys: int = 0
    """How many ordering keys they share; 0 for none."""


def fill(database: Path, backlog: Backlog) -> None:
    """Add the backlog to the database, which is made if it is not there."""
    database.parent.mkdir(exist_ok=True)
    connection = connect_writer(database)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        _insert(connection, backlog)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _insert(connection: "sqlite3.Connection", backlog: Backlog) -> None:
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - _DAY_MS
    parameters = {
        "last": backlog.pending - 1,
        "first_ms": first_ms,
        "first_number": first_number_at(first_ms),
        "type": EVENT,
        "name": backlog.name,
        "keys": backlog.keys,
        "later_ms": 0 if backlog.due == "now" else 2 * _DAY_MS,
    }
    connection.execute("BEGIN IMMEDIATE")
    for statement in (_EVENTS, _DEDUPE_KEYS):
        connection.execute(statement, parameters)
    if backlog.name is not None:
        connection.execute(_DELIVERIES, parameters)
    connection.execute("COMMIT")


def main() -> None:
    """Fill one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--name", default="nothing.nothing")
    parser.add_argument("--due", choices=("now", "later"), default="now")
    parser.add_argument("--keys", type=int, default=0)
    options = parser.parse_args()
    begun = time.monotonic()
    database = options.home / "data" / "clarihook.db"
    fill(database, Backlog(pending=options.pending, name=options.name, due=options.due,
                           keys=options.keys))  # fmt: skip
    size_mb = database.stat().st_size / 1e6
    print(f"{options.pending} wait in {database} ({size_mb:.0f} MB), "
          f"after {time.monotonic() - begun:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
