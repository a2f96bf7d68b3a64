"""The store's pure parts: numbers, leases, the SQLite version, named queries."""

import doctest
import re
import threading
from pathlib import Path
from types import ModuleType

import pytest
from store_data import OpenSqlite, claim_one, record_one

import receiver.store.ids as ids_module
from receiver.model import State
from receiver.store import driver, queries, workers
from receiver.store.alive import LifeLock
from receiver.store.driver import has_wal_reset_race
from receiver.store.ids import Numbers, first_id_at, first_number_at, new_event_id
from receiver.store.queries import Queries


def _tell_nobody(*_args: object) -> None:
    """Of what is dead."""


def test_numbers_of_a_workers_two_threads_never_meet() -> None:
    """The loop numbers events while the writer's thread numbers staged deliveries."""
    loop, thread = Numbers(7), Numbers(7, even=False)
    drawn: list[int] = []
    other = threading.Thread(target=lambda: drawn.extend(thread.next() for _ in range(20_000)))
    other.start()
    mine = [loop.next() for _ in range(20_000)]
    other.join()
    assert len({*mine, *drawn}) == 40_000
    assert mine == sorted(mine)
    assert drawn == sorted(drawn)
    assert max(*mine, *drawn) < 2**63


def test_numbers_grow_when_the_clock_stands_still_or_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past 2,048 in one millisecond they borrow from the next, and keep the worker's place."""
    moments = iter([1_800_000_000.0, *[1_799_999_000.0] * 10_000])
    monkeypatch.setattr(ids_module.time, "time", lambda: next(moments))
    for even in (True, False):
        numbers = Numbers(1023, even=even)
        drawn = [numbers.next() for _ in range(5000)]
        assert drawn == sorted(set(drawn))
        assert {number >> 12 & 1023 for number in drawn} == {1023}
        assert {number & 1 for number in drawn} == {0 if even else 1}


@pytest.mark.parametrize("even", [True, False])
def test_numbers_go_on_from_those_of_before_the_clock_was_put_back(even: bool) -> None:
    before = Numbers(1023, even=not even).next() + (3600 * 1000 << 22)
    numbers = Numbers(5, even=even, after=before)
    drawn = [numbers.next() for _ in range(5000)]
    assert before < drawn[0]
    assert drawn == sorted(set(drawn))
    assert {number >> 12 & 1023 for number in drawn} == {5}
    assert {number & 1 for number in drawn} == {0 if even else 1}


def test_ids_and_numbers_sort_by_time() -> None:
    assert first_id_at(5) < new_event_id(5) < first_id_at(6) < new_event_id(6)
    assert first_number_at(0) == 0
    assert len({new_event_id(5) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("module", [ids_module, driver, queries], ids=lambda each: each.__name__)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("version", "has_race"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_the_wal_reset_race_is_known_by_version(
    version: tuple[int, int, int], has_race: bool
) -> None:
    assert has_wal_reset_race(version) is has_race


def test_every_named_query_is_used_and_every_use_has_a_query() -> None:
    """So the .sql files hold no dead statement."""
    folder = Path(workers.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    for filename in ("queries.sql", "reads.sql"):
        names = re.findall(r"^-- name: (\w+)$", (folder / filename).read_text(), re.MULTILINE)
        assert len(names) == len(set(names))
        assert [name for name in names if f'"{name}"' not in code] == []
        Queries.load(filename)


@pytest.mark.anyio
async def test_a_worker_that_stood_still_past_its_lease_is_seen_again(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP past the lease: its deliveries are another's, and it is a worker once more."""
    async with opened() as store:
        delivery_id = await record_one(store)
        await claim_one(store)
        other = workers.Leases(store._queries, LifeLock(store._lock.path), _tell_nobody)
        await store.write(other.register)
        now = workers._monotonic_ms() + 3_600_000
        with monkeypatch.context() as patch:
            patch.setattr(workers, "_monotonic_ms", lambda: now)
            assert await store.write(other.beat) == 0, "it has to beat on time itself"
            now += 15_000
            assert await store.write(other.beat) == 0, "and so have the others"
            now += 1
            assert await store.write(other.beat) == 1
        found = await store.delivery(delivery_id)
        assert found is not None
        assert found.state is State.RETRYING

        await store.heartbeat()

        rows = await store.write(lambda db: db.execute("SELECT id FROM workers").fetchall())
        assert (store.worker_id,) in rows


@pytest.mark.anyio
async def test_a_worker_of_an_earlier_boot_is_dead(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its monotonic clock has started anew, and may stand anywhere."""
    async with opened() as store:
        await record_one(store)
        await claim_one(store)
        other = workers.Leases(store._queries, LifeLock(store._lock.path), _tell_nobody)
        other._machine = "after the reboot"
        await store.write(other.register)
        assert await store.write(other.beat) == 1


@pytest.mark.anyio
async def test_a_jump_of_the_wall_clock_ends_no_lease(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RELIABILITY.md A8."""
    async with opened() as store:
        await record_one(store)
        await claim_one(store)
        other = workers.Leases(store._queries, LifeLock(store._lock.path), _tell_nobody)
        await store.write(other.register)
        monkeypatch.setattr(workers, "_now_ms", lambda: 2 * 10**13)
        assert await store.write(other.beat) == 0
