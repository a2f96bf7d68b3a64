"""What the benchmarks fill a database with is what the store itself would have made."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.backlog import Backlog, fill
from benchmarks.report import Line, ratio
from receiver.model import State
from receiver.payload import parse_object
from receiver.store.base import DeliveryFilter
from receiver.store.sqlite import SqliteStore

NAME = "nothing.nothing"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _filled(tmp_path: Path, backlog: Backlog) -> SqliteStore:
    fill(tmp_path / "data" / "clarihook.db", backlog)
    store = SqliteStore(tmp_path / "data" / "clarihook.db")
    await store.open()
    return store


@pytest.mark.anyio
async def test_what_is_due_is_claimed_in_order_with_its_event(tmp_path: Path) -> None:
    store = await _filled(tmp_path, Backlog(pending=50, name=NAME))
    try:
        claims = await store.claim({NAME: 30}, now_ms=int(time.time() * 1000))
        assert len(claims) == 30
        numbers = [parse_object(claim.event.body)["data"]["data_source_id"] for claim in claims]
        assert numbers == list(range(30))
        assert 250 < len(claims[0].event.body) < 350
        assert await store.backlog() == 20
    finally:
        await store.close()


@pytest.mark.anyio
async def test_what_is_due_later_is_not_claimed(tmp_path: Path) -> None:
    store = await _filled(tmp_path, Backlog(pending=50, name=NAME, due="later"))
    try:
        assert await store.claim({NAME: 30}, now_ms=int(time.time() * 1000)) == []
        assert await store.count_states() == {State.PENDING: 50}
    finally:
        await store.close()


@pytest.mark.anyio
async def test_of_each_key_only_the_first_may_run(tmp_path: Path) -> None:
    store = await _filled(tmp_path, Backlog(pending=50, name=NAME, keys=5))
    try:
        claims = await store.claim({NAME: 30}, now_ms=int(time.time() * 1000))
        oldest = await store.deliveries(DeliveryFilter(), limit=50)
        assert [claim.delivery_id for claim in claims] == [each.id for each in oldest[:-6:-1]]
        assert len({claim.key for claim in claims}) == 5
        assert await store.waiting() == {NAME: 45}
    finally:
        await store.close()


def test_routes_are_measured_and_each_bar_is_judged() -> None:
    """Run small: what it measures is no matter here, that it still measures is."""
    small = ("--rounds", "1", "--events", "20", "--routes", "10", "--channels", "3")
    done = subprocess.run(
        [sys.executable, "benchmarks/routes.py", *small],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert sum(line.endswith(("  met", "  NOT MET")) for line in done.stdout.splitlines()) == 8
    assert done.returncode == ("NOT MET" in done.stdout)


def test_a_line_says_whether_its_bar_is_met() -> None:
    assert Line("a", 0.3, at_least=0.3).is_met
    assert not Line("a", 0.29, at_least=0.3).is_met
    assert not Line("a", 3.1, "s", at_most=3).is_met
    assert str(Line("a", 3.1, "s", at_most=3)).split() == [
        "a", "3.10", "s", "at", "most", "3", "NOT", "MET",
    ]  # fmt: skip
    assert ratio([1, 4, 9], [1, 2, 3]) == 2


def test_the_one_of_hanging_targets_measures_and_says_whether_its_bars_are_met() -> None:
    """How long it took is nothing to assert here; that it was measured is."""
    command = [sys.executable, "benchmarks/targets.py", "--hanging", "3", "--messages", "10"]
    ran = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.stderr == ""
    assert ran.returncode == int("NOT MET" in ran.stdout)
    lines = ran.stdout.strip().splitlines()
    assert len(lines) == 7
    assert "3 targets hang, p99" in lines[4]
    assert "at most 50" in lines[4]
