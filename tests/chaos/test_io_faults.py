"""A4: the N-th call to the database's files fails. No 2xx without its event, and a way back."""

import errno
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
from chaos_counts import COUNTS
from disk_shim import ANY_FILE, Call, Fault, File, Plan, under_shim
from ledger import find_faults
from serve_process import Load, Serve, event_body, measured, opened, serving, settle, write_home

from receiver.store.workers import FATAL_DEATHS

pytestmark = pytest.mark.chaos

SHARES = 2
FAULTS = -(-COUNTS.io_faults // (2 * SHARES))
SERVE = [sys.executable, str(Path(__file__).with_name("serve_with_wal.py")), "serve"]
WAL_PAGES = {"commit": 1_000_000, "checkpoint": 40}
"""So that each fault falls where it is meant to: no checkpoint at all, or one every few commits."""
UNFINISHED = "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"
HANDLER_ENDS = """
SELECT events.id, deliveries.state, deliveries.deaths
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
WHERE deliveries.kind = 'handler'
"""

AT_START = [(Call.PWRITE, 5), (Call.SYNC, 1), (Call.OPEN, 4), (Call.TRUNCATE, 2)]
"""Calls that every start makes, and how many of them at least."""


def choose_faults(chance: random.Random, phase: str, *, count: int) -> Iterator[Fault]:
    """Faults of that phase, and among them some at the start."""
    for number in range(count):
        error = chance.choice([errno.EIO, errno.ENOSPC])
        is_sticky = chance.random() < 0.5
        if number % 4 == 0:
            call, most = chance.choice(AT_START)
            files = ANY_FILE
        else:
            call = chance.choice([Call.PWRITE, Call.PWRITE, Call.SYNC])
            most = 60 if call is Call.PWRITE else 10
            files = File.WAL if phase == "commit" else File.DATABASE
        yield Fault(
            call=call,
            nth=chance.randint(1, most if phase == "commit" or number % 4 == 0 else most // 5),
            error=error,
            is_sticky=is_sticky,
            files=files,
        )


class Deployment:
    """A home whose server meets one fault after the other, and starts anew when it has ended."""

    def __init__(self, home: Path, shim: Path, plan: Plan, *, wal_pages: int) -> None:
        self.home = home
        self.plan = plan
        self.accepted: dict[str, bytes] = {}
        self.outcomes: Counter[str] = Counter()
        self._command = ["env", f"WAL_PAGES={wal_pages}",
                         *under_shim(shim, home / "data", plan=plan, program=SERVE)]  # fmt: skip
        self._serve: Serve | None = None

    def suffer(self, fault: Fault) -> None:
        """Let that happen; raises AssertionError if a promise is broken."""
        is_at_start = fault.files == ANY_FILE
        if is_at_start:
            self.end()
            self.plan.arm(fault)
        if self._serve is None:
            self._serve = Serve(self.home, program=self._command)
            if is_at_start and self._ends_at_start(self._serve):
                self._ended("did not start")
            else:
                self._serve.ready()
        if self._serve is not None:
            if not is_at_start:
                self.plan.arm(fault)
            self._load(self._serve, fault)
        assert self.plan.failed > 0
        self.plan.disarm()
        assert find_faults(self.home / "data" / "clarihook.db", self.accepted) == []

    @property
    def said(self) -> str:
        """The last words of its server."""
        return "" if self._serve is None else "".join(self._serve.lines[-20:])

    def _ends_at_start(self, serve: Serve) -> bool:
        wait(lambda: serve.address is not None or serve.process.poll() is not None)
        if serve.process.poll() is None:
            return False
        assert serve.wait() == 1
        assert "\nerror: " in f"\n{serve.said}"
        return True

    def _load(self, serve: Serve, fault: Fault) -> None:
        load = Load(serve, f"load{self.outcomes.total()}", clients=4)
        try:
            wait(lambda: self.plan.failed > 0)
            if must_end(fault):
                assert serve.wait() == 1
            elif must_answer_503(fault):
                wait(lambda: load.statuses.get(503, 0) >= 5)
            else:
                self._goes_on(serve, load)
            if serve.process.poll() is None:
                self.plan.disarm()  # the space is back
                self._goes_on(serve, load)
        finally:
            load.end()
        assert load.statuses.keys() <= {202, 503}
        assert load.without_wait == 0, "every 503 says when to come back"
        self.accepted |= load.accepted
        if self._is_well(serve):
            self.outcomes["went on"] += 1
            return
        assert serve.wait() == 1
        assert "store.failed" in serve.said
        assert fault.error == errno.EIO or fault.call is Call.SYNC, "a full disk ends nothing"
        self._ended("ended")

    def _goes_on(self, serve: Serve, load: Load) -> None:
        before = load.statuses.get(202, 0)
        wait(lambda: load.statuses.get(202, 0) > before or serve.process.poll() is not None)

    def _is_well(self, serve: Serve) -> bool:
        """Whether it accepts at last, or ends; what it has met is known before the next commit."""
        number = 0
        deadline = time.monotonic() + 60
        while serve.process.poll() is None:
            assert time.monotonic() < deadline, "it neither accepts nor ends"
            number += 1
            body = event_body(f"after{self.outcomes.total()}-{number}")
            try:
                status, answer = serve.post(body)
            except (OSError, HTTPException):
                continue
            if status == 202:
                self.accepted[answer["id"]] = body
                return True
            time.sleep(0.05)
        return False

    def _ended(self, how: str) -> None:
        assert self._serve is not None
        assert "Traceback" not in self._serve.said, self._serve.said
        self.outcomes[how] += 1
        self._serve = None

    def end(self) -> None:
        """Kill the server, if there is one: the next start finds work to take up."""
        if self._serve is not None:
            self._serve.kill()
            self._serve = None


def must_end(fault: Fault) -> bool:
    """R10, and what SQLite does not forgive. A write of the WAL that finds no space, it does."""
    is_failure = fault.error == errno.EIO or fault.call is Call.SYNC
    if fault.files == File.WAL:
        return is_failure
    # One fault in a checkpoint is mended by the next one, which writes all of it again.
    return fault.files == File.DATABASE and is_failure and fault.is_sticky


def must_answer_503(fault: Fault) -> bool:
    return fault.files == File.WAL and fault.error == errno.ENOSPC and fault.is_sticky


def wait(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@pytest.mark.timeout(120 + 5 * FAULTS)
@pytest.mark.parametrize("seed", range(SHARES))
@pytest.mark.parametrize("phase", WAL_PAGES)
def test_no_fault_of_the_disk_loses_an_event_or_acknowledges_one_that_is_not_there(
    tmp_path: Path, shim: Path, phase: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """R1, R2, R10: after EIO it exits with 1 and starts clean; a full disk is 503, and passes."""
    begun = time.monotonic()
    home = write_home(tmp_path / "home")
    plan = Plan(tmp_path / "plan")
    deployment = Deployment(home, shim, plan, wal_pages=WAL_PAGES[phase])
    try:
        for number, fault in enumerate(choose_faults(random.Random(seed), phase, count=FAULTS)):
            try:
                deployment.suffer(fault)
            except Exception as error:
                error.add_note(f"seed {seed}, fault {number}: {fault}")
                error.add_note(deployment.said)
                raise
    finally:
        deployment.end()
        plan.close()
    with serving(home) as serve:
        settle(home, UNFINISHED, seconds=60)
        assert serve.stop() == 0
    assert find_faults(home / "data" / "clarihook.db", deployment.accepted) == []
    with opened(home) as database:
        ends = database.execute(HANDLER_ENDS).fetchall()
    handled = set((home / "handled").read_text("ascii").split())
    for event_id, state, deaths in ends:
        # What ran whenever its process died is taken for the cause at last (R7).
        assert state == "succeeded" or deaths >= FATAL_DEATHS
        assert state == "dead" or event_id in handled
    outcomes = ", ".join(f"{count} {how}" for how, count in deployment.outcomes.items())
    measured(
        capsys,
        f"{FAULTS} I/O faults ({phase}, seed {seed}): {outcomes}; "
        f"{len(deployment.accepted)} events acknowledged, 0 lost; {time.monotonic() - begun:.0f} s",
    )
