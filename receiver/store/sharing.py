"""Whether several processes may write to one database here, and if not, why."""

from receiver.store.alive import can_tell
from receiver.store.driver import SQLITE_VERSION, has_wal_reset_race


def can_share(*, runs_deliveries: bool) -> bool:
    """Whether a second process may write beside another one, and run deliveries too."""
    return not has_wal_reset_race() and (can_tell() or not runs_deliveries)


def why_alone() -> str:
    """What keeps a second process from writing, and what to do; the end of a sentence."""
    if has_wal_reset_race():
        version = ".".join(map(str, SQLITE_VERSION))
        return (
            f"and SQLite {version} can lose a commit when two processes write (fixed in 3.51.3). "
            "Stop that process, or install pysqlite3, which carries a newer SQLite."
        )
    return (
        "and this system can't tell a dead process's deliveries from a live one's (that takes "
        "Linux on 64 bits). Stop that process."
    )
