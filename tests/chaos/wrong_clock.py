"""A wall clock that a test sets while a process runs; see clock.c."""

import struct
from pathlib import Path


class WallClock:
    """That of the processes which run with its `environment`. Their monotonic clock is true."""

    def __init__(self, file: Path, library: Path, *, zone: str = "UTC") -> None:
        file.write_bytes(bytes(16))
        self._file = file
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file), "TZ": zone}

    def shift(self, seconds: float) -> None:
        """Be ahead of the true time by so much, or behind it."""
        self._set(ahead_seconds=seconds, frozen_at=0)

    def freeze(self, moment: float) -> None:
        """Stand still at that Unix time."""
        self._set(ahead_seconds=0, frozen_at=moment)

    def _set(self, *, ahead_seconds: float, frozen_at: float) -> None:
        # Into the file as it is: processes have mapped it.
        with self._file.open("r+b") as file:
            file.write(struct.pack("=qq", int(ahead_seconds * 1e9), int(frozen_at * 1e9)))
