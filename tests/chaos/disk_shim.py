"""What `shim.c` is told and what it tells: programs under it, the plan of a fault, the records."""

import errno
import mmap
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import NamedTuple

SERVE = [sys.executable, "-m", "receiver.cli", "serve"]


class Kind(IntEnum):
    """What happened."""

    CREATED = 1
    WRITTEN = 2
    TRUNCATED = 3
    REMOVED = 4
    SYNC_BEGUN = 5
    SYNCED = 6
    SYNC_FAILED = 7
    ACKNOWLEDGED = 8


class Call(IntFlag):
    """The calls that may fail."""

    PWRITE = 1
    SYNC = 2
    TRUNCATE = 4
    OPEN = 8


class File(IntFlag):
    """The files that they are about."""

    DATABASE = 1
    WAL = 2
    JOURNAL = 4
    FOLDER = 8
    OTHER = 16
    """The WAL's index, and the owner's lock."""


ANY_FILE = File.DATABASE | File.WAL | File.JOURNAL | File.FOLDER | File.OTHER


class Record(NamedTuple):
    """One thing that a server did to its database's files, or one event that it acknowledged."""

    kind: Kind
    file: int
    number: int
    """Where it wrote, to how many bytes it truncated, or which sync it was."""
    content: bytes
    """What it wrote, the file's name, or the event's id."""


def under_shim(
    shim: Path,
    folder: Path,
    *,
    log: Path | None = None,
    plan: "Plan | None" = None,
    program: list[str] = SERVE,
) -> list[str]:
    """The program, so that the shim sees what it does in the folder."""
    variables = {"LD_PRELOAD": shim, "CHAOS_FOLDER": folder, "CHAOS_LOG": log,
                 "CHAOS_PLAN": None if plan is None else plan.path}  # fmt: skip
    if log is not None:
        shared = variables["CHAOS_SHARED"] = log.with_suffix(".shared")
        shared.write_bytes(bytes(mmap.PAGESIZE * 2))
    return ["env", *(f"{name}={value}" for name, value in variables.items() if value), *program]


_HEAD = struct.Struct("=IIQQ")


def read_records(log: Path) -> Iterator[Record]:
    """The records of a server that has ended."""
    with log.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, number_of_file, number, size = _HEAD.unpack(head)
            yield Record(Kind(kind), number_of_file, number, file.read(size))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One call that fails: the N-th of its kind from the moment it is armed."""

    call: Call
    nth: int
    error: int
    is_sticky: bool = False
    files: File = ANY_FILE

    def __str__(self) -> str:
        which = "all from the" if self.is_sticky else "the"
        files = "any file" if self.files == ANY_FILE else str(self.files.name).lower()
        name = str(self.call.name).lower()
        return f"{errno.errorcode[self.error]} at {which} {self.nth}th {name} of {files}"


class Plan:
    """The fault of the moment, in memory that is shared with the server."""

    _FORM = struct.Struct("=iIIIII")

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(self._FORM.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), self._FORM.size)

    def arm(self, fault: Fault) -> None:
        """Let that call fail; what failed before is forgotten."""
        self.disarm()
        self._FORM.pack_into(
            self._shared, 0, 0, fault.call, fault.files, fault.error, fault.is_sticky, 0
        )
        struct.pack_into("=i", self._shared, 0, fault.nth)  # last: now it counts

    def disarm(self) -> None:
        """Let no call fail any more."""
        struct.pack_into("=i", self._shared, 0, 0)

    @property
    def failed(self) -> int:
        """How many calls have failed since it was armed."""
        return int(self._FORM.unpack_from(self._shared)[5])

    def close(self) -> None:
        self._shared.close()
