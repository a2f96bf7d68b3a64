"""A database that another program keeps locked: 503 and when to come back, nothing half stored,
nothing run twice, and service as before once the lock is gone.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from reckoning import UNFINISHED, Reckoning, handled, titles
from serve_process import Load, event_body, measured, settle, write_home
from setups import Alone, Setup, Workers, running, wait_until

from receiver.store.driver import sqlite3
from receiver.store.opening import BUSY_TIMEOUT_SECONDS
from receiver.store.sharing import can_share

HELD = 8
HANDLER, FILE = "deployed.hold", "file/1-file"

HANDLERS = """
import asyncio
import os
from pathlib import Path

from receiver import Context, on

HOME = Path(__file__).parents[1]


@on("test.held", "load.sent")
async def hold(event: dict, ctx: Context) -> None:
    descriptor = os.open(HOME / "handled", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{ctx.event.id}\\n".encode())
    os.close(descriptor)
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
    ctx.notify("file", title=ctx.event.id, body="done")
"""


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """The write lock is this process's, as soon as it can be had."""
    connection = sqlite3.connect(home / "data" / "clarihook.db", timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@pytest.mark.chaos
@pytest.mark.parametrize("kind", [Alone, Workers])
def test_a_locked_database_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[Setup]
) -> None:
    """Longer than a batch waits, and longer than the lease: nobody could beat, and nobody is
    taken for dead by it.
    """
    if kind is Workers and not can_share(runs_deliveries=True):
        pytest.skip("one process only, here")
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[dispatch]\nlease = "5s"\n')
    accepted: dict[str, bytes] = {}
    with running(kind(home, Random("locks"))) as setup:
        for number in range(HELD):
            body = event_body(f"held {number}", "test.held")
            status, answer = setup.serve.post(body)
            assert status == 202
            accepted[answer["id"]] = body
        wait_until(lambda: (home / "handled").exists() and len(handled(home)) == HELD, "they run")
        with locked(home):
            begun = time.monotonic()
            (home / "go").touch()  # their ends come while nobody can write
            load = Load(setup.serve, "locked", clients=4)
            wait_until(lambda: load.statuses.get(503, 0) >= 4, "503")
            wait_until(lambda: time.monotonic() - begun > 6, "the lease's end")
            seconds = time.monotonic() - begun
            assert load.accepted == {}
        assert load.has_begun.wait(30), "it accepts again by itself"
        load.end()
        accepted |= load.accepted
        settle(home, UNFINISHED, seconds=60)
        setup.stop()
    assert seconds > BUSY_TIMEOUT_SECONDS
    assert load.statuses.keys() == {202, 503}
    assert load.without_wait == 0, "every 503 says when to come back"
    found = Reckoning(home)
    assert found.stored == accepted, "what was answered 503 is not there"
    assert found.each_has_one(HANDLER)
    assert found.each_has_one(FILE)
    assert found.states == {"succeeded": 2 * len(accepted)}
    assert found.outcomes.keys() == {("delivered", None)}, "no attempt was cut or repeated"
    assert handled(home) == dict.fromkeys(accepted, 1)
    assert titles(home / "messages.jsonl") == dict.fromkeys(accepted, 1)
    measured(
        capsys,
        f"{kind.__name__}, locked for {seconds:.1f} s: {load.statuses[503]} times 503, then "
        f"{len(load.accepted)} accepted; {HELD} ends waited for it; {len(accepted)} handled once",
    )
