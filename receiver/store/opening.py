"""Opening the database file: connections, schema, and what to say when it can't be done."""

import os
from pathlib import Path

from receiver.errors import StoreError
from receiver.store.driver import SQLITE_VERSION, sqlite3

LATEST_MIGRATION = "0014_console"
"""The last one in `migrations.py`; they are numbered from 0001."""
BUSY_TIMEOUT_SECONDS = 5.0
OLDEST_SQLITE = (3, 38, 0)
"""Brought `->>` and JSON functions in every build; RETURNING came with 3.35."""
_WRITER_PRAGMAS = (
    "synchronous = FULL",
    "foreign_keys = ON",
    # 8 MiB of WAL before it is moved in, twice SQLite's default: pages that every commit
    # writes are moved once for more commits, which saves a tenth of the writer's time.
    "wal_autocheckpoint = 2000",
    "journal_size_limit = 67108864",
)
_FAULTS = {
    "SQLITE_NOTADB": "{path} is not a SQLite database. Move it away, or change store.url.",
    "SQLITE_CORRUPT": (
        "{path} is damaged ({error}). Keep a copy, then recover it with "
        "`sqlite3 {path} .recover` or restore a backup."
    ),
    "SQLITE_BUSY": "{path} is locked by another program. End it, then start again.",
    "SQLITE_FULL": "{path}: the disk is full. Free some space, then start again.",
    "SQLITE_IOERR": (
        "{path}: the disk is full or fails ({error}). See what `df` and the kernel's log (`dmesg`) "
        "say of it, then start again."
    ),
}
"""By the beginning of SQLite's name for the error."""


def connect_writer(path: Path, *, may_migrate: bool = True) -> "sqlite3.Connection":
    """The one connection of a process that writes, with the schema brought up to date.

    It waits for no lock: `BatchWriter` does, and looks more often than SQLite would. Raises
    StoreError with the remedy, also for an older schema that this process `may_migrate` not,
    since another one is at work on it.
    """
    if SQLITE_VERSION < OLDEST_SQLITE:
        raise StoreError(
            f"this Python has SQLite {_dotted(SQLITE_VERSION)}; {_dotted(OLDEST_SQLITE)} is the "
            "oldest that will do. Install pysqlite3, which carries a newer one, or a newer Python."
        )
    try:
        connection = _connect(path.as_posix())
    except sqlite3.Error as error:
        raise StoreError(explain_open(path, error)) from error
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(
                f"{path}: its file system can't hold a write-ahead log (SQLite stays in mode "
                f"{mode}). Put the database on a local disk."
            )
        for pragma in _WRITER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if not _is_current(connection):
            from receiver.store.schema import migrate  # noqa: PLC0415 - slow, seldom needed

            migrate(path, connection, may_migrate=may_migrate)
        connection.execute("PRAGMA busy_timeout = 0")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(explain_open(path, error)) from error
        raise
    return connection


def connect_reader(path: Path) -> "sqlite3.Connection":
    """A connection that can neither write nor checkpoint (docs/store.md, the WAL-reset race)."""
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def check_readable(path: Path) -> None:
    """Raise StoreError unless the file holds a database of this version's schema."""
    if not path.exists():
        raise StoreError(
            f"{path}: no database here yet. Start `clarihook serve` once, or check --home and "
            "store.url."
        )
    try:
        connection = connect_reader(path)
        try:
            if _is_current(connection):
                return
            from receiver.store.schema import applied_steps  # noqa: PLC0415 - slow, seldom needed

            if not applied_steps(path, connection):
                raise StoreError(
                    f"{path}: nothing is stored here yet. Start `clarihook serve` once, or check "
                    "--home and store.url."
                )
            raise StoreError(
                f"{path}: written by an older clarihook. `clarihook db migrate` brings it up "
                "to date, and so does the start of `clarihook serve`."
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(explain_open(path, error)) from error


def explain_open(path: Path, error: Exception) -> str:
    """What is wrong with the file, and what to do."""
    name = getattr(error, "sqlite_errorname", None) or ""
    for beginning, text in _FAULTS.items():
        if name.startswith(beginning):
            return text.format(path=path, error=error)
    if path.parent.exists() and not os.access(path.parent, os.W_OK):
        return f"{path}: the folder can't be written to. Check its owner and permissions."
    return f"{path} can't be opened: {error}"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _connect(database: str, *, uri: bool = False) -> "sqlite3.Connection":
    return sqlite3.connect(
        database,
        uri=uri,
        isolation_level=None,  # we say BEGIN IMMEDIATE ourselves
        check_same_thread=False,  # opened on one thread, used by just one other
        timeout=BUSY_TIMEOUT_SECONDS,
        cached_statements=512,
    )


def _is_current(connection: "sqlite3.Connection") -> bool:
    """Whether the schema is exactly this version's; false also for a file that is not ours.

    Asked without sqlite-utils, whose import takes as long as all else that a command needs here.
    """
    try:
        row = connection.execute(
            "SELECT count(*), max(name) FROM _sqlite_migrations WHERE migration_set = 'clarihook'"
        ).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_ERROR":  # no such table
            return False
        raise
    return tuple(row) == (int(LATEST_MIGRATION[:4]), LATEST_MIGRATION)
