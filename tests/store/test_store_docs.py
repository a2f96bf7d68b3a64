"""docs/store.md says what the code does."""

import ast
import inspect
import itertools
import re
import shlex
from pathlib import Path

import pytest
from sqlite_utils import Database

from receiver import model
from receiver.model import FINAL_STATES, MOVES, State
from receiver.store.driver import sqlite3
from receiver.store.migrations import migrations
from receiver.store.workers import HEARTBEATS_PER_LEASE, LEASE_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text()


def section(title: str) -> str:
    """The page's text under a heading of the second level."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def names_in(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


def who_moves(state: State) -> str:
    """What `model.py` says under the state."""
    tree = ast.parse(inspect.getsource(model))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "State")
    for member, text in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and ast.unparse(member.targets[0]) == state.name:
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            return " ".join(str(text.value.value).split())
    raise AssertionError(f"{state} has no words")


@pytest.mark.parametrize("state", State)
def test_states_and_their_moves_are_as_documented(state: State) -> None:
    to = ", ".join(f"`{each}`" for each in State if each in MOVES[state]) or "nowhere"
    rows = section("The life of a delivery").splitlines()
    assert f"| `{state}` | {who_moves(state)} | {to} |" in rows


def test_no_other_states_are_documented() -> None:
    assert names_in("The life of a delivery") == [state.value for state in State]
    final = ", ".join(f"`{state}`" for state in State if state in FINAL_STATES)
    assert f"final states ({final})" in PAGE


def test_tables_and_views_are_as_documented() -> None:
    db = Database(memory=True)
    migrations.apply(db)
    ours = {each for each in db.table_names() if not each.startswith(("_", "sqlite_"))}
    assert set(names_in("Tables")) == ours
    assert names_in("Views") == db.view_names()


def test_leases_are_as_documented() -> None:
    assert (
        f"a lease of {LEASE_SECONDS:g} seconds, which it extends every "
        f"{LEASE_SECONDS / HEARTBEATS_PER_LEASE:g}" in (" ".join(PAGE.split()))
    )


@pytest.mark.parametrize("command", re.findall(r"^sqlite3 .*SELECT.*$", PAGE, re.MULTILINE))
def test_commands_that_look_work(command: str) -> None:
    run_on_an_empty_store(shlex.split(command)[2])


@pytest.mark.parametrize(
    "query", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)[0].strip().split(";\n")
)
def test_queries_work(query: str) -> None:
    run_on_an_empty_store(query)


def run_on_an_empty_store(query: str) -> None:
    db = Database(sqlite3.connect(":memory:"), execute_plugins=False)
    migrations.apply(db)
    assert db.execute(query).fetchall() == []
    db.close()
