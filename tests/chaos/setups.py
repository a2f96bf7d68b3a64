"""Deployments whose processes are killed one by one: which, what it ran, and who comes after it."""

import json
import os
import random
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from serve_process import Serve

from receiver.store.driver import sqlite3

Process = TypeVar("Process", bound=Serve)
Kind = TypeVar("Kind", bound="Setup")

WAIT_SECONDS = 60
"""For whatever has to come; on an idle machine nothing here takes longer than 3."""


class Work(Serve):
    """`clarihook work` as a process of its own."""

    says_ready = "clarihook works on "

    def __init__(self, home: Path, *arguments: str) -> None:
        super().__init__(home, *arguments, program=[sys.executable, "-m", "receiver.cli", "work"])


@contextmanager
def looking(home: Path) -> Iterator["sqlite3.Connection"]:
    """The database as its processes left it: a reader does not move the log in at its end."""
    uri = f"{(home / 'data' / 'clarihook.db').as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def wait_until(
    condition: Callable[[], object], what: str, *, seconds: float = WAIT_SECONDS
) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """What a process ran when it died: the deliveries and their attempts so far."""

    home: Path
    attempts: dict[int, int]

    @staticmethod
    def of(home: Path, worker: int | None) -> "Orphans":
        """Of that worker, or of all."""
        with looking(home) as database:
            rows = database.execute(
                "SELECT id, attempts FROM deliveries "
                "WHERE state = 'running' AND worker = coalesce(?, worker)",
                (worker,),
            ).fetchall()
        return Orphans(home=home, attempts=dict(rows))

    def wait(self, since: float) -> float:
        """Wait until each of them runs again, or has; seconds from then to the last one."""
        with looking(self.home) as database:
            wait_until(lambda: self._waiting(database) == 0, "orphans run again")
        return time.monotonic() - since

    def _waiting(self, database: "sqlite3.Connection") -> int:
        ((waiting,),) = database.execute(
            "SELECT count(*) FROM json_each(?) AS orphan "
            "JOIN deliveries ON deliveries.id = orphan.key "
            "WHERE deliveries.attempts <= orphan.value AND finalized_at IS NULL",
            (json.dumps(self.attempts),),
        )
        return int(waiting)


def worker_of(home: Path, pid: int) -> int | None:
    """The number of that process among the store's workers, once it is one."""
    with looking(home) as database:
        row = database.execute("SELECT id FROM workers WHERE pid = ?", (pid,)).fetchone()
    return None if row is None else int(row[0])


def members_of(serve: Serve) -> list[int]:
    """The processes that a supervisor has started."""
    children = Path(f"/proc/{serve.process.pid}/task/{serve.process.pid}/children")
    return [int(each) for each in children.read_text("ascii").split()]


class Setup(ABC):
    """Processes on one home, of which one is killed in each round."""

    serve: Serve
    """The one that receives."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.home = home
        self.chance = chance
        self._processes: list[Serve] = []

    def start(self) -> None:
        """Start all, and wait until they are ready."""
        self.serve = self.start_serve()

    @abstractmethod
    def start_serve(self) -> Serve:
        """The process that receives, ready."""

    @abstractmethod
    def kill_one(self) -> tuple[Orphans, float]:
        """Kill a process; what it ran, and the moment from which that waits to run again."""

    def mend(self) -> None:
        """Wait until as many processes are at work as before the kill."""
        self.serve.ready()

    def stop(self) -> None:
        """Stop all in order."""
        assert self.serve.stop() == 0, self.serve.said

    def end(self) -> None:
        """Leave no process behind, whatever has happened."""
        for each in self._processes:
            if each.process.poll() is None:
                each.process.kill()
            each.wait()

    def _watched(self, process: Process) -> Process:
        self._processes.append(process)
        return process


@contextmanager
def running(setup: Kind) -> Iterator[Kind]:
    """Started, and gone afterwards whatever happens."""
    try:
        setup.start()
        yield setup
    finally:
        setup.end()


class Alone(Setup):
    """One `serve`, which is started again after each kill."""

    def start_serve(self) -> Serve:
        return self._watched(Serve(self.home)).ready()

    def kill_one(self) -> tuple[Orphans, float]:
        self.serve.kill()
        orphans = Orphans.of(self.home, None)
        self.serve = self.start_serve()
        return orphans, time.monotonic()


class Members(Setup):
    """`serve --workers 2`: a member is killed, every fourth time their supervisor."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        super().__init__(home, chance)
        self._kills = 0

    def start_serve(self) -> Serve:
        serve = self._watched(Serve(self.home, "--workers", "2")).ready()
        self._wait_for_both(serve)
        return serve

    def kill_one(self) -> tuple[Orphans, float]:
        self._kills += 1
        if self._kills % 4 == 0:
            return self._kill_supervisor()
        pid = self.chance.choice(members_of(self.serve))
        worker = worker_of(self.home, pid)
        assert worker is not None, "both were workers when the round began"
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        orphans = Orphans.of(self.home, worker)
        wait_until(lambda: pid not in members_of(self.serve), "the supervisor sees its end")
        return orphans, begun

    def mend(self) -> None:
        self._wait_for_both(self.serve)

    def _kill_supervisor(self) -> tuple[Orphans, float]:
        """Its members stop by themselves, and give back what they can't finish."""
        self.serve.process.kill()
        self.serve = self.start_serve()
        return Orphans(home=self.home, attempts={}), time.monotonic()

    def _wait_for_both(self, serve: Serve) -> None:
        wait_until(
            lambda: sum(worker_of(self.home, pid) is not None for pid in members_of(serve)) == 2,
            "two members work",
        )


class Workers(Setup):
    """`serve --no-dispatch` and two `work`, of which one is killed and another one started."""

    def __init__(
        self, home: Path, chance: random.Random, *, count: int = 2, arguments: Sequence[str] = ()
    ) -> None:
        super().__init__(home, chance)
        self.works: list[Work] = []
        self._count = count
        self._arguments = arguments

    def start(self) -> None:
        super().start()
        self.works = [self._start_work() for _ in range(self._count)]
        for work in self.works:
            work.ready()

    def _start_work(self) -> Work:
        return self._watched(Work(self.home, *self._arguments))

    def start_serve(self) -> Serve:
        return self._watched(Serve(self.home, "--no-dispatch")).ready()

    def kill_one(self) -> tuple[Orphans, float]:
        work = self.chance.choice(self.works)
        worker = worker_of(self.home, work.process.pid)
        assert worker is not None, "a process that says that it works is a worker"
        work.process.kill()
        begun = time.monotonic()
        orphans = Orphans.of(self.home, worker)
        work.wait()
        self.works.remove(work)
        return orphans, begun

    def mend(self) -> None:
        if len(self.works) < self._count:
            self.works.append(self._start_work())
            self.works[-1].ready()

    def stop(self) -> None:
        for work in self.works:
            assert work.stop() == 0, work.said
        super().stop()


class Receiver(Workers):
    """The same; the process that receives is killed, while those that work live."""

    def kill_one(self) -> tuple[Orphans, float]:
        self.serve.kill()
        self.serve = self.start_serve()
        return Orphans(home=self.home, attempts={}), time.monotonic()
