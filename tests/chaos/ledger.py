"""What has to be in a database: every event that was acknowledged, whole, with its deliveries."""

from collections.abc import Mapping
from pathlib import Path

from receiver.store.driver import sqlite3

_EVENTS = """
SELECT events.id, events.body, sum(deliveries.kind = 'handler')
FROM events
LEFT JOIN deliveries ON deliveries.event_seq = events.seq
WHERE events.type = 'load.sent' -- and none of those that clarihook raises itself
GROUP BY events.seq
"""
_UNTOLD = """
SELECT count(*)
FROM deliveries
WHERE
    kind = 'handler'
    AND state = 'succeeded'
    AND id NOT IN (
        SELECT messages.delivery_id
        FROM messages
        JOIN deliveries AS sent ON sent.message_id = messages.id
    )
"""


def find_faults(database: Path, acknowledged: Mapping[str, bytes | None]) -> list[str]:
    """What is wrong with a file after a crash; `acknowledged` are bodies by id, None: not known.

    The handler of tests/server says one message for each event, to one target.
    """
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        # What this looks at is a copy, or a server that has ended; nothing has to outlast it.
        connection.execute("PRAGMA synchronous = OFF")
        checked = connection.execute("PRAGMA integrity_check").fetchall()
        if checked != [("ok",)]:
            return [f"integrity_check: {row[0]}" for row in checked[:5]]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchall():
            return [f"{each}: acknowledged, and there is no table" for each in acknowledged]
        faults = []
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            faults.append("a row refers to one that is not there")
        stored = {}
        for event_id, body, deliveries in connection.execute(_EVENTS):
            stored[event_id] = body
            if deliveries != 1:
                faults.append(f"{event_id}: stored with {deliveries or 0} deliveries, not 1")
        for event_id, body in acknowledged.items():
            if event_id not in stored:
                faults.append(f"{event_id}: acknowledged, and lost")
            elif body is not None and stored[event_id] != body:
                faults.append(f"{event_id}: acknowledged, and stored with another body")
        ((untold,),) = connection.execute(_UNTOLD)
        if untold:
            faults.append(f"{untold} handlers succeeded, and their messages are lost")
    except sqlite3.DatabaseError as error:
        return [f"can't be read: {error}"]
    finally:
        connection.close()
    return faults
