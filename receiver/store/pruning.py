"""Removing what is older than the settings keep, a little at a time."""

import json
from collections.abc import Sequence

from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

KEY_SLICES = 256
"""Dedupe keys are looked through in so many slices, by their first byte: they lie in order of
key, so that an index by age would cost every event a write in a place of chance."""


def prune_events(db: "sqlite3.Connection", queries: Queries, seqs: Sequence[int]) -> int:
    """Delete these events with all that came of them; how many.

    One with a delivery that is dead or has not ended is kept: it may have got that since a
    reader named it.
    """
    rows = db.execute(queries["removable_events"], (json.dumps(seqs),)).fetchall()
    events = json.dumps([seq for (seq,) in rows])
    messages = [each for (each,) in db.execute(queries["messages_of_events"], (events,))]
    db.execute(queries["delete_events"], (events,))
    db.execute(queries["delete_messages"], (json.dumps(messages),))
    return len(rows)


def prune_dedupe_keys(
    db: "sqlite3.Connection", queries: Queries, *, before_ms: int, slice_number: int
) -> int:
    """Forget the keys of one slice that were seen before; how many."""
    first = bytes([slice_number])
    end = bytes([slice_number + 1]) if slice_number + 1 < KEY_SLICES else b"\xff" * 33
    forgotten = 0
    source = ""
    while (row := db.execute(queries["next_dedupe_source"], (source,)).fetchone())[0] is not None:
        (source,) = row
        forgotten += db.execute(
            queries["delete_dedupe_keys"], (source, first, end, before_ms)
        ).rowcount
    return forgotten
