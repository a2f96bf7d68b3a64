"""The simulated disk is neither kinder nor harsher than a disk: what a power cut may leave."""

import random
from pathlib import Path

from disk_shim import Kind, Record
from simulated_disk import SimulatedDisk, sectors

CREATED = [
    Record(Kind.CREATED, 1, 0, b""),
    Record(Kind.CREATED, 2, 0, b"a.db"),
]
SAFE = [
    *CREATED,
    Record(Kind.SYNC_BEGUN, 1, 1, b""),
    Record(Kind.SYNCED, 1, 1, b""),
]
FIRST = Record(Kind.WRITTEN, 2, 0, b"1" * 1024)
SECOND = Record(Kind.WRITTEN, 2, 1024, b"2" * 512)


def synced(number: int, *during: Record, ends: Kind = Kind.SYNCED) -> list[Record]:
    return [Record(Kind.SYNC_BEGUN, 2, number, b""), *during, Record(ends, 2, number, b"")]


def left(records: list[Record], tmp_path: Path) -> set[bytes | None]:
    """All that 200 power cuts after these records leave of the file; None: not even its name."""
    disk = SimulatedDisk()
    for record in records:
        disk.take(record)
    found: set[bytes | None] = set()
    for seed in range(200):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        disk.cut_power(folder, random.Random(seed))
        file = folder / "a.db"
        found.add(file.read_bytes() if file.exists() else None)
    return found


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    assert left([*SAFE, FIRST, *synced(2)], tmp_path) == {FIRST.content}


def test_what_was_not_may_be_there_or_not_or_in_sectors(tmp_path: Path) -> None:
    one, none = b"1" * 512, bytes(512)
    assert left([*SAFE, FIRST], tmp_path) == {b"", one, none + one, one + one}


def test_a_later_write_may_be_there_without_an_earlier_one(tmp_path: Path) -> None:
    assert bytes(1024) + SECOND.content in left([*SAFE, FIRST, SECOND], tmp_path)


def test_a_sync_covers_what_was_written_before_it_began(tmp_path: Path) -> None:
    assert left([*SAFE, FIRST, *synced(2, SECOND)], tmp_path) == {
        FIRST.content,
        FIRST.content + SECOND.content,
    }


def test_a_sync_that_fails_saves_nothing_and_the_next_one_neither(tmp_path: Path) -> None:
    failed = [*SAFE, FIRST, *synced(2, ends=Kind.SYNC_FAILED)]
    assert left([*failed, SECOND, *synced(3)], tmp_path) == {bytes(1024) + SECOND.content}


def test_a_new_file_without_a_sync_of_its_folder_may_be_gone(tmp_path: Path) -> None:
    assert left([*CREATED, FIRST, *synced(2)], tmp_path) == {None, FIRST.content}


def test_a_removed_file_may_be_there_until_a_sync_of_its_folder(tmp_path: Path) -> None:
    removed = [*SAFE, FIRST, *synced(2), Record(Kind.REMOVED, 0, 0, b"a.db")]
    assert left(removed, tmp_path) == {None, FIRST.content}
    removed += [Record(Kind.SYNC_BEGUN, 1, 3, b""), Record(Kind.SYNCED, 1, 3, b"")]
    assert left(removed, tmp_path) == {None}


def test_a_file_may_be_cut_short_or_not(tmp_path: Path) -> None:
    cut = Record(Kind.TRUNCATED, 2, 100, b"")
    assert left([*SAFE, FIRST, *synced(2), cut], tmp_path) == {FIRST.content, b"1" * 100}


def test_a_write_is_torn_where_sectors_of_the_disk_begin() -> None:
    parts = sectors(Record(Kind.WRITTEN, 2, 500, b"x" * 600))
    assert [(part.number, len(part.content)) for part in parts] == [
        (500, 12),
        (512, 512),
        (1024, 76),
    ]
