"""A disk that loses its power: what it may hold then of what a server has written to it.

A write, and a change of a file's size, is safe once a sync of that file has ended that began after
it; a file's name or its removal, once a sync of the folder has. What is not safe may be there, or
not, or in part: whole writes, or single sectors of them, in any choice. A sync that fails makes
nothing safe, then or later: Linux takes the pages for clean from then on.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from disk_shim import Kind, Record

SECTOR_BYTES = 512
FOLDER = ""
"""The name under which the records have the folder itself."""


@dataclass
class Contents:
    """One file: what is safe of it, and what was done since."""

    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[Record] = field(default_factory=list)


class SimulatedDisk:
    """Takes records in their order, and says at any moment what a power cut could leave."""

    def __init__(self) -> None:
        self._files: dict[int, Contents] = {}
        self._names: dict[str, int] = {}
        self._unsafe_names: list[Record] = []
        self._folder: int | None = None
        self._begun: dict[int, int] = {}
        """Of each sync that runs: how much it covers."""

    def take(self, record: Record) -> None:
        """Go on by one record."""
        match record.kind:
            case Kind.CREATED if record.content.decode() == FOLDER:
                self._folder = record.file
            case Kind.CREATED:
                self._files[record.file] = Contents()
                self._unsafe_names.append(record)
            case Kind.REMOVED:
                self._unsafe_names.append(record)
            case Kind.WRITTEN | Kind.TRUNCATED:
                self._files[record.file].unsafe.append(record)
            case Kind.SYNC_BEGUN:
                self._begun[record.number] = len(self._unsafe_of(record.file))
            case Kind.SYNCED:
                unsafe = self._unsafe_of(record.file)
                covered = self._begun.pop(record.number)
                if record.file == self._folder:
                    _rename(self._names, unsafe[:covered])
                else:
                    _apply(self._files[record.file].safe, unsafe[:covered])
                del unsafe[:covered]
            case Kind.SYNC_FAILED:
                del self._unsafe_of(record.file)[: self._begun.pop(record.number)]

    def _unsafe_of(self, file: int) -> list[Record]:
        return self._unsafe_names if file == self._folder else self._files[file].unsafe

    def cut_power(self, folder: Path, chance: random.Random) -> str:
        """Write what may be left into an empty folder; in which way it was chosen."""
        way, choose = chance.choice(WAYS)
        names = dict(self._names)
        _rename(names, choose(self._unsafe_names, chance))
        for name, file in names.items():
            contents = self._files[file]
            left = bytearray(contents.safe)
            _apply(left, choose(contents.unsafe, chance))
            (folder / name).write_bytes(left)
        return way


def _rename(names: dict[str, int], records: Iterable[Record]) -> None:
    for record in records:
        if record.kind is Kind.CREATED:
            names[record.content.decode()] = record.file
        else:
            names.pop(record.content.decode(), None)


def _apply(contents: bytearray, records: Iterable[Record]) -> None:
    for record in records:
        end = record.number + len(record.content)
        if record.kind is Kind.TRUNCATED:
            del contents[record.number :]
        contents.extend(bytes(max(0, end - len(contents))))
        contents[record.number : end] = record.content


def _none(_records: list[Record], _chance: random.Random) -> list[Record]:
    return []


def _some(records: list[Record], chance: random.Random) -> list[Record]:
    share = chance.random()
    return [record for record in records if chance.random() < share]


def _torn(records: list[Record], chance: random.Random) -> list[Record]:
    share = chance.random()
    return [part for record in records for part in sectors(record) if chance.random() < share]


def _begun(records: list[Record], chance: random.Random) -> list[Record]:
    """In order up to some sector, and nothing after it."""
    parts = [part for record in records for part in sectors(record)]
    return parts[: chance.randint(0, len(parts))]


WAYS: list[tuple[str, Callable[[list[Record], random.Random], list[Record]]]] = [
    ("dropped", _none),
    ("a subset", _some),
    ("torn", _torn),
    ("in order", _begun),
]


def sectors(record: Record) -> list[Record]:
    """What is written to each sector by itself."""
    if record.kind is not Kind.WRITTEN:
        return [record]
    parts = []
    begin, end = record.number, record.number + len(record.content)
    while begin < end:
        stop = min(end, (begin // SECTOR_BYTES + 1) * SECTOR_BYTES)
        content = record.content[begin - record.number : stop - record.number]
        parts.append(record._replace(number=begin, content=content))
        begin = stop
    return parts
