"""Bringing a database's schema up to date, and telling what it lacks.

Imported only where there is something to do: sqlite-utils takes its time to load.
"""

from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from receiver.errors import SchemaTooNew, StoreError
from receiver.store.driver import sqlite3
from receiver.store.migrations import migrations
from receiver.store.opening import connect_reader, explain_open


class Steps(NamedTuple):
    """The migrations of a database, by name."""

    applied: list[str]
    pending: list[str]


def migration_steps(path: Path) -> Steps:
    """Which migrations a database has and which it needs; none applied if there is no file.

    Raises SchemaTooNew, or StoreError with the remedy, also for another program's database.
    """
    if not path.exists():
        return Steps([], sorted(_names_of_ours()))
    try:
        connection = connect_reader(path)
        try:
            applied = applied_steps(path, connection)
            return Steps(applied, sorted(_names_of_ours() - set(applied)))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(explain_open(path, error)) from error


def applied_steps(path: Path, connection: "sqlite3.Connection") -> list[str]:
    """The migrations that the database has; none if it is empty.

    Raises SchemaTooNew, or StoreError for a database of another program: it is not ours to change.
    """
    db = Database(connection, execute_plugins=False)
    applied = [migration.name for migration in migrations.applied(db)]
    if not applied and db.table_names():
        raise StoreError(
            f"{path}: this SQLite database is another program's, not clarihook's (it has a table "
            f"{db.table_names()[0]!r}). Check store.url."
        )
    newer = sorted(set(applied) - _names_of_ours())
    if newer:
        raise SchemaTooNew(
            f"{path}: written by a newer clarihook (it has {newer[-1]}, which this version does "
            "not know). Install that version or a later one."
        )
    return applied


def migrate(path: Path, connection: "sqlite3.Connection", *, may_migrate: bool) -> None:
    """Bring an older schema, or an empty file, up to date.

    Raises StoreError with the remedy, also where this process `may_migrate` not.
    """
    applied_steps(path, connection)
    db = Database(connection, execute_plugins=False)
    if not migrations.pending(db):
        return
    if not may_migrate:
        raise StoreError(
            f"{path}: written by an older clarihook, which is still at work on it. Stop it, then "
            "start this one: it brings the database up to date."
        )
    migrations.apply(db)


def _names_of_ours() -> set[str]:
    # On an empty database every migration of ours is pending: the public way to list them.
    return {migration.name for migration in migrations.pending(Database(memory=True))}
