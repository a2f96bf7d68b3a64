"""When there is too little room to accept more, and the ballast that is kept for that time."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from receiver.store.space import BALLAST_BYTES, MARGIN_BYTES, Ballast, DiskSpace

GIB = 1 << 30
MIN_FREE = 64 << 20


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how much is free on every disk."""
    real = os.statvfs("/")

    def set_free(free_bytes: int) -> None:
        fields = list(real)
        fields[1], fields[4] = 1, free_bytes  # f_frsize, f_bavail
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(fields))

    return set_free


def test_the_ballast_is_really_there_and_private(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "clarihook.db")
    assert not ballast.is_there
    assert ballast.make()
    assert ballast.is_there
    status = ballast.path.stat()
    assert (status.st_size, status.st_mode & 0o777) == (BALLAST_BYTES, 0o600)
    assert status.st_blocks * 512 >= BALLAST_BYTES
    ballast.drop()
    ballast.drop()
    assert not ballast.path.exists()


def test_a_half_made_ballast_is_made_whole_and_a_link_is_not_followed(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "clarihook.db")
    ballast.path.write_bytes(b"x")
    assert not ballast.is_there
    assert ballast.make()
    assert ballast.is_there
    ballast.drop()
    victim = tmp_path / "victim"
    victim.write_bytes(b"y")
    ballast.path.symlink_to(victim)
    assert not ballast.make()
    assert victim.read_bytes() == b"y"


def test_below_the_watermark_it_is_told_once_and_again_when_it_is_over(
    tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=MIN_FREE)
    with structlog.testing.capture_logs() as logs:
        for free, accepts in (
            (GIB, True),
            (MIN_FREE, True),
            (MIN_FREE - 1, False),
            (MIN_FREE - 1, False),
            (MIN_FREE + MARGIN_BYTES - 1, False),  # no back and forth at the mark
            (MIN_FREE + MARGIN_BYTES, True),
        ):
            set_free(free)
            space.look()
            assert (space.reason is None) == accepts, free
    assert [each["event"] for each in logs] == ["store.no_room", "store.has_room_again"]
    assert str(tmp_path) not in str(space.refusal())


def test_0_turns_the_watermark_off(tmp_path: Path, set_free: Callable[[int], None]) -> None:
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=0)
    set_free(0)
    space.look()
    assert space.reason is None


def test_free_pages_of_the_database_are_room_too(
    tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    """Else a disk that the database fills would stay closed, however much is removed from it."""
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=MIN_FREE)
    set_free(MIN_FREE // 2)
    space.look()
    assert space.reason is not None
    space.look(spare_bytes=GIB)
    assert space.reason is None


def test_what_the_ballast_left_is_not_for_new_events(
    tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=0)
    set_free(GIB)
    space.look()
    assert space.ballast.is_there
    space.note_full()
    assert not space.ballast.is_there
    for free, accepts in (
        (BALLAST_BYTES, False),
        (BALLAST_BYTES + MARGIN_BYTES - 1, False),
        (BALLAST_BYTES + MARGIN_BYTES, True),
    ):
        set_free(free)
        space.look()
        assert (space.reason is None, space.ballast.is_there) == (accepts, accepts)


def test_a_start_on_a_full_disk_throws_the_ballast_overboard(
    tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=0)
    space.ballast.make()
    space.make_way()
    assert space.ballast.is_there
    set_free(0)
    space.make_way()
    assert not space.ballast.is_there
    assert space.reason is not None


def test_a_log_that_grows_is_told_once_with_the_remedy(tmp_path: Path) -> None:
    space = DiskSpace(tmp_path / "clarihook.db", min_free_bytes=0)
    wal = tmp_path / "clarihook.db-wal"
    wal.touch()
    with structlog.testing.capture_logs() as logs:
        for size in (200 << 20, 300 << 20, 1 << 20, 200 << 20):
            os.truncate(wal, size)
            space.look()
    told = [each for each in logs if each["event"] == "store.log_is_large"]
    assert [each["bytes"] >> 20 for each in told] == [200, 200]
    assert "read transaction" in told[0]["remedy"]
