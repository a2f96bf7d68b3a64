"""What clarihook runs on: Python, SQLite, the clock."""

import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from receiver import __version__
from receiver.doctor.finding import Finding, fault, ok, warning
from receiver.store.driver import SQLITE_VERSION, has_wal_reset_race
from receiver.store.opening import OLDEST_SQLITE

_OLDEST_MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that goes shows less: clarihook is younger."""


def examine_machine() -> Iterator[Finding]:
    """Python, SQLite and the clock."""
    yield ok(
        "clarihook",
        f"{__version__}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}",
    )
    yield _examine_sqlite()
    yield _examine_clock(time.time())


def _examine_sqlite(version: tuple[int, ...] = SQLITE_VERSION) -> Finding:
    shown = ".".join(map(str, version))
    remedy = "install pysqlite3, which carries a current one, or a newer Python"
    if version < OLDEST_SQLITE:
        return fault("sqlite", f"{shown} is too old to be used", remedy)
    if has_wal_reset_race(version):
        text = f"{shown} can lose a commit when two processes write, so only one may"
        return warning("sqlite", text, remedy)
    return ok("sqlite", f"{shown}, several processes may write")


def _examine_clock(now: float) -> Finding:
    moment = datetime.fromtimestamp(now, UTC)
    shown = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    if moment < _OLDEST_MOMENT:
        text = f"it is {shown}, says the clock: no signature's timestamp will fit"
        return fault("clock", text, "set it, and keep it right with NTP")
    return ok("clock", shown)
