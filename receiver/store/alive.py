"""Which workers' processes live, as the kernel knows it.

Each worker holds a lock on one byte of the database's lock file. The kernel drops it with the
process, however that ends, so nobody has to wait for a lease to end to know that a worker is
dead. These are open file description locks (fcntl(2)): they belong to the open file, not to the
process, so two stores in one process tell each other apart, and closing another file that is
the same one drops nothing. `flock`, which says who owns the database, is another kind of lock
and does not meet them.
"""

import contextlib
import fcntl
import os
import struct
import sys
from pathlib import Path

_FIRST_BYTE = 1 << 32
"""The file's beginning is the owner's process number; a lock may lie beyond the file's end."""
_FLOCK = "hhqqi"
"""`struct flock` of Linux on 64 bits: l_type, l_whence, l_start, l_len, l_pid."""


def can_tell() -> bool:
    """Whether this system has such locks; without them only one process may run deliveries."""
    return sys.platform == "linux" and sys.maxsize > 2**32 and hasattr(fcntl, "F_OFD_SETLK")


class LifeLock:
    """A worker's sign of life in the lock file, and the way to look for others'."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self, worker: int) -> None:
        """Show that the worker of that number lives, until `release` or the process's end."""
        if not can_tell():
            return
        if self._fd is None:
            self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, worker))

    def watch(self) -> None:
        """Be able to look for others' signs without giving one, where there is a lock file."""
        if can_tell() and self._fd is None:
            with contextlib.suppress(OSError):
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def is_held(self, worker: int) -> bool | None:
        """Whether the worker of that number lives; None where nobody can tell."""
        if self._fd is None:
            return None
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, worker))
        return bool(struct.unpack_from(_FLOCK, answer)[0] != fcntl.F_UNLCK)

    def release(self) -> None:
        """Show no sign of life any more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _lock(kind: int, worker: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, _FIRST_BYTE + worker, 1, 0) + bytes(4)
