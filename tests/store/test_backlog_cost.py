"""No statement reads a large table whole; under a backlog each event costs what it always does."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from store_data import HANDLER, claim_one, end, finish, handler, now_ms, record_one

from benchmarks.backlog import Backlog, fill
from receiver.store.base import Store
from receiver.store.driver import sqlite3
from receiver.store.opening import connect_writer
from receiver.store.queries import Queries
from receiver.store.sqlite import SqliteStore

SMALL_TABLES = {
    "json_each",
    "made",
    "wanted",
    "CONSTANT",
    "workers",
    "replays",
    "rejections",
    "lanes",
}
"""What a statement may read whole: its parameters, or tables that stay small."""

WHOLE_TABLES = {
    "count_states": "deliveries",
    "count_waiting": "deliveries INDEX deliveries_due, deliveries INDEX deliveries_by_key",
    "count_backlog": "deliveries INDEX deliveries_due, deliveries INDEX deliveries_by_key",
    "count_dead": "deliveries INDEX deliveries_dead",
    "count_held": "deliveries INDEX deliveries_held",
    "deliveries_for_people": "deliveries INDEX deliveries_dead",
    "running_workers": "deliveries INDEX deliveries_running",
}
"""What counts has to look at all that it counts, on the index that holds nothing else. How many
are in each state is asked by a person."""

SEEKS = {
    "claim_suspect": "deliveries_due (name=? AND priority=? AND due_at<?)",
    "due_names": "deliveries_due (name=? AND priority=? AND due_at<?)",
    "insert_replayed_delivery": "deliveries_by_key (name=? AND key=?)",
    "retry_by_hand": "deliveries_by_key (name=? AND key=?)",
    "orphans": "deliveries_running (worker=?)",
    "count_states_of_replay": "deliveries_by_replay (replay_id=?)",
}
"""What is looked for among many, by all that the index can tell. `test_query_plans.py` looks at
claims and turns more closely."""


def _statements() -> Iterator[tuple[str, str]]:
    for file in ("queries.sql", "reads.sql"):
        queries = Queries.load(file)
        text = resources.files("receiver.store").joinpath(file).read_text("utf-8")
        for name in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE):
            if not queries[name].startswith("CREATE"):
                yield name, queries[name]


STATEMENTS = dict(_statements())


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """`plan(name)`: the lines of a statement's query plan."""
    connection = connect_writer(tmp_path_factory.mktemp("plans") / "clarihook.db")
    queries = Queries.load("queries.sql")
    for each in ("batch_view", "batch_event", "batch_delivery", "batch_turn", "batch_success"):
        connection.execute(queries[each])

    def lines(name: str) -> list[str]:
        sql = STATEMENTS[name]
        names = set(re.findall(r":([a-z]\w*)", sql))
        numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
        parameters = dict.fromkeys(names) or [None] * (max(numbers, default=0) or sql.count("?"))
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
        return [row[3] for row in rows]

    return lines


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_large_table_whole(
    name: str, plan: Callable[[str], list[str]]
) -> None:
    scans = [
        re.sub(r"^SCAN (\w+)(?: USING (?:COVERING )?(INDEX \w+))?.*$", r"\1 \2", line).strip()
        for line in plan(name)
        if line.startswith("SCAN ") and "(subquery" not in line
    ]
    large = [scan for scan in scans if scan.split()[0] not in SMALL_TABLES]
    assert ", ".join(large) == WHOLE_TABLES.get(name, "")


@pytest.mark.parametrize("name", SEEKS)
def test_what_is_looked_for_among_many_is_sought(
    name: str, plan: Callable[[str], list[str]]
) -> None:
    assert any(line.endswith(SEEKS[name]) for line in plan(name)), plan(name)


# -- the writer's work, counted in steps of SQLite's machine ------------------------------------

FEW, MANY = 50, 3000
BACKLOGS = {
    "of another handler": Backlog(pending=MANY, name="other.other"),
    "due later": Backlog(pending=MANY, name=HANDLER, due="later"),
    "due": Backlog(pending=MANY, name=HANDLER),
    "of one key": Backlog(pending=MANY, name=HANDLER, keys=1),
    "each with its key": Backlog(pending=MANY, name=HANDLER, keys=MANY),
}


class Steps:
    """Counts what the writer's connection does."""

    def __init__(self, connection: "sqlite3.Connection") -> None:
        self._count = 0
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self._count += 1
        return 0

    def take(self) -> int:
        """How many there were since the last time."""
        count, self._count = self._count, 0
        return count


async def _one_of_each(store: Store, steps: Steps) -> dict[str, int]:
    """What recording, claiming, finishing and the like cost."""
    cost: dict[str, int] = {}
    steps.take()
    await record_one(store)
    cost["record"] = steps.take()
    await record_one(store, handler(key="key 0"))
    cost["record by key"] = steps.take()
    await record_one(store, handler("fresh.fresh", key="key 0"))
    cost["record by a key of its own"] = steps.take()
    claim = await claim_one(store, at_ms=now_ms())
    cost["claim"] = steps.take()
    await finish(store, end(claim))
    cost["finish"] = steps.take()
    claim = await claim_one(store, "fresh.fresh")
    await store.release([claim.delivery_id])
    steps.take()
    await store.claim({"nobody.nobody": 10}, now_ms=now_ms())
    cost["claim of nothing"] = steps.take()
    await store.heartbeat()
    cost["heartbeat"] = steps.take()
    return cost


async def _cost(path: Path, backlog: Backlog) -> dict[str, int]:
    fill(path, backlog)
    store = SqliteStore(path)
    await store.open()
    try:
        assert store._connection is not None
        return await _one_of_each(store, Steps(store._connection))
    finally:
        await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("backlog", BACKLOGS.values(), ids=BACKLOGS)
async def test_what_happens_all_day_costs_no_more_under_a_backlog(
    tmp_path: Path, backlog: Backlog
) -> None:
    few = replace(backlog, pending=FEW, keys=min(FEW, backlog.keys))
    with_few = await _cost(tmp_path / "few" / "clarihook.db", few)
    with_many = await _cost(tmp_path / "many" / "clarihook.db", backlog)
    assert with_few["record"] > 50, "nothing was counted"
    dearer = {
        name: (with_few[name], with_many[name])
        for name in with_few
        # A few steps of difference, for what may share a transaction with it.
        if with_many[name] > 1.2 * with_few[name] + 20
    }
    assert dearer == {}
