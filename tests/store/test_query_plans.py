"""What runs for every delivery is a seek in an index, however many wait (1,000,000 and more)."""

import re

import pytest
from store_data import OpenSqlite

from receiver.store.queries import Queries

pytestmark = pytest.mark.anyio

QUERIES = Queries.load("queries.sql")


def turn_statements() -> list[str]:
    """The statements of the trigger `batch_turn`, its values as parameters."""
    body = QUERIES["batch_turn"].partition("BEGIN\n")[2].rpartition("END")[0]
    statements = [each for each in body.split(";") if each.strip()]
    for number, name in enumerate(("c", "f", "g"), start=1):
        statements = [re.sub(rf"\bnew\.{name}\b", f"?{number}", each) for each in statements]
    assert len(statements) == 2
    return statements


async def plan(opened: OpenSqlite, statement: str, parameters: int) -> str:
    async with opened() as store:
        rows = await store.read(
            lambda db: db.execute(f"EXPLAIN QUERY PLAN {statement}", [0] * parameters).fetchall()
        )
    return "\n".join(row[3] for row in rows)


async def test_a_claim_seeks_its_lane_in_order_of_being_due(opened: OpenSqlite) -> None:
    found = await plan(opened, QUERIES["claim"], 5)
    assert "deliveries_due (name=? AND priority=? AND due_at<?)" in found
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found


async def test_passing_a_turn_seeks_the_key(opened: OpenSqlite) -> None:
    back, on = turn_statements()
    taken_back = await plan(opened, back, 3)
    assert "deliveries_by_key (name=? AND key=? AND waits_for_key=?)" in taken_back
    assert "SCAN" not in taken_back
    passed = await plan(opened, on, 3)
    assert passed.count("deliveries_by_key (name=? AND key=? AND waits_for_key=?)") == 2
    assert "deliveries_aside (name=? AND key=? AND due_at<?)" in passed
    assert "deliveries_aside (name=? AND key=?)" in passed
    assert "SCAN" not in passed
    assert "TEMP B-TREE" not in passed


async def test_what_waits_for_people_is_found_by_indexes_of_its_own(opened: OpenSqlite) -> None:
    found = await plan(opened, Queries.load("reads.sql")["deliveries_for_people"], 1)
    assert "USING INDEX deliveries_held" in found or "INDEX deliveries_held_groups" in found
    assert "INDEX deliveries_dead" in found
    assert not re.search("SCAN deliveries$", found, re.MULTILINE)
