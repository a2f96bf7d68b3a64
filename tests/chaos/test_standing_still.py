"""SIGSTOP past the lease, again and again: what one that stands still ran is run by another, and
what it says late is void. R6: claims carry a lease, by a clock that nobody sets.
"""

import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from chaos_counts import COUNTS
from reckoning import UNFINISHED, Reckoning, titles, twice
from serve_process import event_body, measured, settle, write_home
from setups import Orphans, Work, Workers, looking, running, wait_until, worker_of

from receiver.store.driver import sqlite3
from receiver.store.sharing import can_share

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here"),
]

ROUNDS = -(-COUNTS.kills // 10)
AT_ONCE = 12
HANDLER, FILE = "deployed.hold", "file/1-file"

HANDLERS = """
import asyncio
import os
from pathlib import Path

from receiver import Context, on

HOME = Path(__file__).parents[1]


@on("test.held", schedule=["100ms"])
async def hold(event: dict, ctx: Context) -> None:
    descriptor = os.open(HOME / "begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{ctx.event.id} {os.getpid()}\\n".encode())
    os.close(descriptor)
    while not (HOME / f"go {event['data']['name'].split()[0]}").exists():
        await asyncio.sleep(0.01)
    ctx.notify("file", title=ctx.event.id, body="done")
"""


class Trio(Workers):
    """One process that receives, and three that work, four deliveries each at a time."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        super().__init__(home, chance, count=3, arguments=("--concurrency", "4"))

    def stop_one(self) -> Work:
        """Let one of them stand still, though not in a commit: there it would hold the lock that
        all need, and nobody could take up anything.
        """
        while True:
            work = self.chance.choice(self.works)
            work.signal(signal.SIGSTOP)
            wait_until(partial(_stands_still, work.process.pid), "it stands still")
            if not is_locked(self.home):
                return work
            work.signal(signal.SIGCONT)

    def end(self) -> None:
        for work in self.works:
            work.signal(signal.SIGCONT)
        super().end()


def _stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] == "T"


def is_locked(home: Path) -> bool:
    """Whether somebody writes, and goes on writing."""
    connection = sqlite3.connect(home / "data" / "clarihook.db", timeout=2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def says(process: Work, text: str, times: int) -> bool:
    return process.said.count(text) >= times


def begun(home: Path) -> Counter[str]:
    """By event: how often its handler has begun."""
    try:
        text = (home / "begun").read_text("ascii")
    except FileNotFoundError:
        return Counter()
    return Counter(line.split()[0] for line in text.splitlines())


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_one_that_stands_still_past_its_lease_loses_its_work_and_its_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[dispatch]\nlease = "1s"\n')
    accepted: dict[str, bytes] = {}
    waits, void = [], 0
    with running(Trio(home, random.Random("stops"))) as setup:
        for number in range(ROUNDS):
            for each in range(AT_ONCE):
                body = event_body(f"{number} {each}", "test.held")
                status, answer = setup.serve.post(body)
                assert status == 202
                accepted[answer["id"]] = body
            wait_until(lambda: len(begun(home)) == len(accepted), "all have begun")
            work = setup.stop_one()
            worker = worker_of(home, work.process.pid)
            orphans = Orphans.of(home, worker)
            voided = work.said.count("delivery.lease_lost") + len(orphans.attempts)
            # The others are at their four: let those end, so that there is room for more.
            (home / f"go {number}").touch()
            waits.append(orphans.wait(time.monotonic()))
            settle(home, UNFINISHED)
            work.signal(signal.SIGCONT)
            wait_until(partial(says, work, "delivery.lease_lost", voided), "its late word is void")
            void += len(orphans.attempts)
        settle(home, UNFINISHED)
        setup.stop()
    found = Reckoning(home)
    assert found.lost(accepted) == set()
    assert found.stored.keys() == accepted.keys()
    assert found.each_has_one(HANDLER)
    assert found.each_has_one(FILE)
    assert found.states == {"succeeded": 2 * len(accepted)}
    assert found.outcomes.keys() <= {("delivered", None), ("unknown", "WorkerDied")}
    assert found.unexplained(HANDLER, begun(home)) == {}
    written = titles(home / "messages.jsonl")
    assert found.unexplained(FILE, written) == {}
    assert void > 0
    with looking(home) as database:
        staged = database.execute("SELECT count(*) FROM messages").fetchone()
    assert staged == (len(accepted),), "a late word stages nothing"
    measured(
        capsys,
        f"{ROUNDS} stops: {len(accepted)} acknowledged and handled, {void} runs taken from one "
        f"that stood still, each begun again after {max(waits):.2f} s at most and void when it "
        f"came late; {len(written)} messages, {twice(written)} twice",
    )
