"""A copy of a live database: complete, as of one moment, and checked before it has its name."""

import os
from collections.abc import Callable
from pathlib import Path

from receiver.errors import StoreError
from receiver.store.driver import sqlite3
from receiver.store.moment import one_moment

PAGES_AT_A_TIME = 1024


def backup(
    db: "sqlite3.Connection",
    copy: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write what `db`, a reader's connection, sees now into the new file `copy`; its bytes.

    A server that writes meanwhile does not notice, except that its write-ahead log can't shrink
    until the copy is made. `on_progress` hears pages done and pages in all. The copy is on
    stable storage, readable by its owner alone, when this returns; if it fails there is none.

    Raises StoreError if it can't be written, or is damaged: then the original is, too.
    """
    partial = copy.with_name(f".{copy.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _copy(db, partial, on_progress)
        _sync(partial)
        size = partial.stat().st_size
        partial.replace(copy)
        _sync(copy.parent)
    except OSError as error:
        raise StoreError(f"{copy}: the copy can't be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"{copy}: the copy can't be made: {error}") from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    return size


def _copy(db: "sqlite3.Connection", partial: Path, on_progress: Callable[[int, int], None]) -> None:
    target = sqlite3.connect(partial.as_posix(), isolation_level=None)
    try:
        # Without a transaction of its own SQLite would begin anew with every commit of a server.
        with one_moment(db):
            db.backup(
                target,
                pages=PAGES_AT_A_TIME,
                progress=lambda _status, left, pages: on_progress(pages - left, pages),
            )
        target.execute("PRAGMA journal_mode = DELETE")  # one file, no log beside it
        found = [text for (text,) in target.execute("PRAGMA integrity_check(5)").fetchall()]
        if found != ["ok"]:
            raise StoreError(
                f"the copy is damaged, so the database is too: {'; '.join(found)}. "
                "See `clarihook db check`."
            )
    finally:
        target.close()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
