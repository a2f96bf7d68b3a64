"""Several reads of one moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from receiver.store.driver import sqlite3


@contextmanager
def one_moment(db: "sqlite3.Connection") -> Iterator[None]:
    """All that is read inside sees the database as it was at the beginning.

    Until the end the write-ahead log is not used again and grows: not for waiting inside.
    """
    db.execute("BEGIN")
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()  # BEGIN alone reads nothing yet
        yield
    finally:
        db.execute("ROLLBACK")
