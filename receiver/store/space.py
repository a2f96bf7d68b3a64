"""The room on the disk: when there is too little to accept more, and a reserve for that time.

A ballast file beside the database keeps 8 MiB that nobody else can take. When a write finds the
disk full, it is removed: then the ends of attempts can be recorded and old events removed, while
nothing new is accepted. It is made again once there is plenty of room.
"""

import contextlib
import os
import sys
from pathlib import Path

import structlog

from receiver.errors import StoreUnavailable

log = structlog.get_logger("receiver.store")

BALLAST_BYTES = 8 * 1024 * 1024
MARGIN_BYTES = 2 * 1024 * 1024
"""So much more than is needed has to be free before anything is accepted again."""
_RETRY_AFTER_SECONDS = 30
_LARGE_LOG_BYTES = 128 * 1024 * 1024
"""Twice what the log shrinks to by itself (`journal_size_limit`)."""


class Ballast:
    """The file that can be thrown overboard."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".ballast")

    @property
    def is_there(self) -> bool:
        """Whether all of it is."""
        try:
            return self.path.stat().st_blocks * 512 >= BALLAST_BYTES
        except OSError:
            return False

    def make(self) -> bool:
        """Take the room for it, really and not as a hole; False if there is not enough."""
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if sys.platform == "linux":
                    os.posix_fallocate(fd, 0, BALLAST_BYTES)
                else:
                    os.pwrite(fd, bytes(BALLAST_BYTES), 0)
            finally:
                os.close(fd)
        except OSError:
            self.drop()
            return False
        return True

    def drop(self) -> None:
        """Give its room to whoever needs it now."""
        with contextlib.suppress(OSError):
            self.path.unlink()


class DiskSpace:
    """Whether the disk of a database has room for more events."""

    def __init__(self, database: Path, *, min_free_bytes: int) -> None:
        """`min_free_bytes`: with less nothing is accepted; 0 goes on until the disk is full."""
        self._database = database
        self._min_free = min_free_bytes
        self._log_path = database.with_name(database.name + "-wal")
        self.ballast = Ballast(database)
        self.reason: str | None = None
        """Why nothing is accepted, without any path; None while it is."""
        self._is_log_told = False

    def refusal(self) -> StoreUnavailable:
        """What to answer while there is a reason."""
        return StoreUnavailable(self.reason or "", retry_after_seconds=_RETRY_AFTER_SECONDS)

    @property
    def log_bytes(self) -> int:
        """How long the write-ahead log is."""
        try:
            return self._log_path.stat().st_size
        except OSError:
            return 0

    def make_way(self) -> None:
        """Before the start: a disk that is full to the brim leaves no room even for that."""
        if self.ballast.is_there and self._free_bytes() < MARGIN_BYTES:
            self.note_full()

    def note_full(self) -> None:
        """A write found the disk full. Called on any thread."""
        self.ballast.drop()
        self._begin("the database's disk is full")

    def look(self, *, spare_bytes: int = 0) -> None:
        """See whether there is room; `spare_bytes` are free within the database itself.

        Raises OSError if the disk can't even be asked.
        """
        free = self._free_bytes()
        needed = self._min_free + BALLAST_BYTES + MARGIN_BYTES
        has_ballast = self.ballast.is_there or (free >= needed and self.ballast.make())
        room = free + spare_bytes
        if self.reason is None:
            if room < self._min_free:
                self._begin(
                    f"the database's disk has {room} bytes free, and store.min_free_bytes is "
                    f"{self._min_free}"
                )
        # What is left of a ballast that was thrown overboard is not for new events.
        elif room >= (self._min_free + MARGIN_BYTES if has_ballast else needed):
            self.reason = None
            log.warning("store.has_room_again", free_bytes=free)
        self._look_at_log()

    @property
    def is_low(self) -> bool:
        """Whether the disk should be looked at more closely."""
        return self.reason is not None or self._free_bytes() < self._min_free

    def _begin(self, reason: str) -> None:
        if self.reason is None:
            log.error(
                "store.no_room",
                database=str(self._database),
                reason=reason,
                remedy="free some space; until then webhooks are answered 503, all else goes on",
            )
        self.reason = reason

    def _look_at_log(self) -> None:
        size = self.log_bytes
        if size > _LARGE_LOG_BYTES and not self._is_log_told:
            self._is_log_told = True
            log.warning(
                "store.log_is_large",
                file=str(self._log_path),
                bytes=size,
                remedy="a program keeps a read transaction open on the database; end it "
                f"(`fuser {self._database}` names who has it open)",
            )
        elif size <= _LARGE_LOG_BYTES // 2:
            self._is_log_told = False

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._database.parent)
        return disk.f_bavail * disk.f_frsize
