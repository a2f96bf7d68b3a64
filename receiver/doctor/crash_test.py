"""Kill a server under load, on the user's own disk, and count: accepted = stored = handled."""

import asyncio
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from receiver.doctor.senders import Answers, Senders
from receiver.doctor.throwaway import HANDLED, MESSAGES, Throwaway, serving, throwaway
from receiver.errors import ClarihookError
from receiver.model import FINAL_STATES, Event, State
from receiver.signatures import SchemeSpec, build_scheme
from receiver.store import inspection
from receiver.store.base import EventFilter
from receiver.store.sqlite import SqliteStore

CLIENTS = 8
NEEDED_BYTES = 256 * 2**20
_SYNCS = 100
_PAGE = 1000
_SETTLE_SECONDS = 120.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Round:
    """One kill."""

    number: int
    accepted: int
    seconds: float
    """From the first acknowledgement to the kill."""
    start_seconds: float


@dataclass(frozen=True, kw_only=True)
class CrashReport:
    """What was sent, and what became of it."""

    rounds: tuple[Round, ...]
    answers: Answers
    stored: int
    lost: tuple[str, ...]
    """Acknowledged events that are not stored, or not as they were sent."""
    unhandled: tuple[str, ...]
    """Stored events without a handler's success, or without the message that it said."""
    problems: tuple[str, ...]
    """What is wrong with the file itself."""
    handled_again: int
    """Runs of handlers beyond the first of each event: a kill had cut the run."""
    messages_again: int
    """The same of messages."""
    syncs_ms: list[float] = field(repr=False)
    """How long this disk takes to make 4 KiB safe."""

    @property
    def is_sound(self) -> bool:
        """Whether accepted = stored = handled."""
        return not (self.lost or self.unhandled or self.problems)


def run_crash_test(
    folder: Path, *, rounds: int, on_round: Callable[[Round], None] = lambda _: None
) -> CrashReport:
    """Kill a throwaway server that many times; the deployment's own database is not touched.

    `folder` is where that lies: all happens in a new folder inside it, which is removed. Raises
    ClarihookError if the test itself can't be done.
    """
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise ClarihookError(
            f"{folder}: {free / 2**20:,.0f} MiB free; this test wants {NEEDED_BYTES >> 20} MiB"
        )
    with throwaway(folder) as deployment:
        syncs_ms = measure_syncs(deployment.home)
        return asyncio.run(_run(deployment, rounds, on_round, syncs_ms))


def measure_syncs(folder: Path) -> list[float]:
    """How long it takes to append 4 KiB to a file and sync it, in milliseconds."""
    block, taken = os.urandom(4096), []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            begun = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1000)
    return taken


async def _run(
    deployment: Throwaway, rounds: int, on_round: Callable[[Round], None], syncs_ms: list[float]
) -> CrashReport:
    answers = Answers()
    scheme = build_scheme(SchemeSpec(scheme="claribi"), [deployment.secret])
    senders = Senders(scheme, answers, clients=CLIENTS)
    moments = random.Random()  # noqa: S311 - the kills' moments, no secret
    done = []
    for number in range(1, rounds + 1):
        # In every second round the kill may hit the work that the last one left. Not in all: a
        # delivery that three deaths of its process have in common is taken for their cause.
        settles = number % 2 == 1
        done.append(
            await _kill_once(
                deployment, senders, answers, number, moments.uniform(0.05, 1.0), settles=settles
            )
        )
        on_round(done[-1])
    async with serving(deployment.home) as server:
        await _settle(deployment)
        status = await asyncio.to_thread(server.stop)
    if status != 0:
        raise ClarihookError(f"the throwaway server stopped with status {status}, not 0")
    return await _count(deployment, answers, tuple(done), syncs_ms)


async def _kill_once(
    deployment: Throwaway,
    senders: Senders,
    answers: Answers,
    number: int,
    seconds: float,
    *,
    settles: bool,
) -> Round:
    before = len(answers.accepted)
    async with serving(deployment.home) as server:
        if settles and number > 1:
            await _settle(deployment)
        loading = asyncio.create_task(senders.load(server.port, until=lambda: False))
        give_up_at = time.monotonic() + _SETTLE_SECONDS
        while len(answers.accepted) == before:
            if time.monotonic() > give_up_at or loading.done():
                raise ClarihookError("the throwaway server accepts nothing")
            await asyncio.sleep(0.001)
        await asyncio.sleep(seconds)  # the moment of the kill is what varies
        server.kill()
        await loading
        return Round(
            number=number,
            accepted=len(answers.accepted) - before,
            seconds=seconds,
            start_seconds=server.start_seconds,
        )


async def _settle(deployment: Throwaway) -> None:
    """Wait until nothing waits or runs any more."""
    store = SqliteStore(deployment.database, role="reader")
    await store.open()
    try:
        give_up_at = time.monotonic() + _SETTLE_SECONDS
        while set(await store.count_states()) - FINAL_STATES:
            if time.monotonic() > give_up_at:
                raise ClarihookError(
                    f"after {_SETTLE_SECONDS:.0f} s there are still deliveries that have not ended"
                )
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await store.close()


async def _count(
    deployment: Throwaway, answers: Answers, rounds: tuple[Round, ...], syncs_ms: list[float]
) -> CrashReport:
    handled = Counter(_lines(deployment.home / HANDLED))
    messages = Counter(
        str(json.loads(line)["title"]) for line in _lines(deployment.home / MESSAGES)
    )
    stored: dict[str, bytes] = {}
    unhandled = []
    store = SqliteStore(deployment.database, role="reader")
    await store.open()
    try:
        problems = await store.read(inspection.check)
        last = ""
        while page := await _page(store, last):
            last = page[-1].id
            stored |= {event.id: event.body for event in page}
            states = await store.states_of_events([event.id for event in page])
            unhandled += [
                event.id
                for event in page
                if states[event.id] != {State.SUCCEEDED: 2}
                or not handled[event.id]
                or not messages[event.id]
            ]
    finally:
        await store.close()
    return CrashReport(
        rounds=rounds,
        answers=answers,
        stored=len(stored),
        lost=tuple(e for e, body in answers.accepted.items() if stored.get(e) != body),
        unhandled=tuple(unhandled),
        problems=tuple(problems),
        handled_again=handled.total() - len(handled),
        messages_again=messages.total() - len(messages),
        syncs_ms=syncs_ms,
    )


async def _page(store: SqliteStore, after: str) -> list[Event]:
    return await store.events(EventFilter(after=after or None), limit=_PAGE, newest=False)


def _lines(path: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return path.read_text("utf-8").splitlines()
    return []
