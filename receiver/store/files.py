"""The database's files: their permissions, and the lock that says who owns them."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

OWNER_PATIENCE_SECONDS = 0.5
"""How long an owner waits for the lock: a guest or worker may hold it while it opens the file."""
_LOOK_SECONDS = 0.02


def create_private(path: Path) -> None:
    """Make the database's folder (0700) and an empty file (0600) where they do not exist.

    SQLite gives the -wal and -shm files the mode of the database file.
    """
    folder = path.parent
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_new:
        _sync_name_of(folder)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _sync_name_of(folder: Path) -> None:
    """Let a power cut not take the folder: SQLite sees to what is in it, nobody to its name."""
    descriptor = os.open(folder.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every file system can; SQLite goes on, too
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_path(database: Path) -> Path:
    """The file whose locks say who owns the database, and who lives."""
    return database.with_name(database.name + ".lock")


class OwnerLock:
    """An advisory lock beside the database, held by the process that runs its deliveries.

    The kernel drops it with the process, so `kill -9` leaves no stale lock behind.
    """

    def __init__(self, database: Path) -> None:
        self.path = lock_path(database)
        self._fd: int | None = None

    def take(self, *, patience_seconds: float = 0.0) -> bool:
        """Take the lock, within that time; False if another process, or store, has it."""
        give_up_at = time.monotonic() + patience_seconds
        while not (has_lock := self._try()) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)
        return has_lock

    def _try(self) -> bool:
        assert self._fd is None, "the lock is taken once"
        fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        with contextlib.suppress(OSError):  # a full disk; the number only serves messages
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        return True

    def owner_pid(self) -> int | None:
        """The process that last took the lock, for messages to people."""
        try:
            return int(self.path.read_text("ascii").strip())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Let go; the file stays, since removing it would race with the next owner."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
