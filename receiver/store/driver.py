"""Which SQLite we speak to, and what its version forbids.

`pysqlite3` carries a current SQLite where there is a wheel; elsewhere the interpreter's own
library serves, which on Debian 12 is 3.40 and has the WAL-reset race
(https://sqlite.org/wal.html#walresetbug).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3.dbapi2 as sqlite3
    except ImportError:
        import sqlite3

__all__ = ["SQLITE_VERSION", "has_wal_reset_race", "sqlite3"]

SQLITE_VERSION: tuple[int, int, int] = sqlite3.sqlite_version_info  # type: ignore[assignment,unused-ignore]


def has_wal_reset_race(version: tuple[int, ...] = SQLITE_VERSION) -> bool:
    """Whether two connections that write can lose a commit or corrupt the file.

    True from 3.7.0 (the first with a WAL) to 3.51.2, but for the backported fixes in 3.44.6
    and 3.50.7. Where it is true only one connection may ever write or checkpoint.

    >>> has_wal_reset_race((3, 40, 1)), has_wal_reset_race((3, 44, 6))
    (True, False)
    >>> has_wal_reset_race((3, 51, 2)), has_wal_reset_race((3, 51, 3))
    (True, False)
    """
    if version < (3, 7, 0) or version >= (3, 51, 3):
        return False
    return not ((3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51))
