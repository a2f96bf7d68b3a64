"""The same with a million deliveries in the file that wait, compared with an empty file.

The servers that are compared run side by side and are loaded by turns, a second each: what else
the machine does then changes all of them alike.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from backlog import Backlog, fill
from contenders import (
    NOTHING,
    NOTHING_NAME,
    Contender,
    clarihook,
    handled_by_clarihook,
    running,
)
from load import signed_requests
from report import Line, ratio
from throughput import Done, measure

from receiver.store.sqlite import SqliteStore

CLAIMS_AT_A_TIME = 64
CLAIM_ROUNDS = 100
DRAINED = 20_000
EVENTS_IN_A_SECOND = 30_000

SETTINGS = "[store]\nmax_backlog = 10_000_000\n"
PLAIN = Contender("clarihook", clarihook(settings=SETTINGS), handled_by_clarihook)
BY_KEY = Contender(
    "clarihook, by key",
    clarihook(NOTHING.replace('d")', 'd", key="data.data_source_id")'), SETTINGS),
    handled_by_clarihook,
)

AT_LEAST = 0.8
"""Of an empty file's rate: within 20 %."""


@dataclass(frozen=True)
class Variant:
    """Whose deliveries wait, and what comes in meanwhile."""

    name: str
    backlog: Backlog | None
    contender: Contender = PLAIN
    done: list[Done] = field(default_factory=list)
    ready_seconds: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)


def variants(pending: int) -> tuple[tuple[Variant, ...], tuple[Variant, ...]]:
    """Plain and keyed ones; of each group the first is the empty file."""
    shared = max(1, pending // 100_000)
    return (
        (
            Variant("empty file", None),
            Variant("another handler's, due", Backlog(pending=pending, name="other.other")),
            Variant("this handler's, due later",
                    Backlog(pending=pending, name=NOTHING_NAME, due="later")),
        ),
        (
            Variant("empty file, by key", None, BY_KEY),
            Variant("by key, 100,000 of each key", Backlog(
                pending=pending, name=NOTHING_NAME, due="later", keys=shared), BY_KEY),
            Variant("by key, each its own key", Backlog(
                pending=pending, name=NOTHING_NAME, due="later", keys=pending), BY_KEY),
        ),
    )  # fmt: skip


def run(rounds: int, seconds: int, pending: int) -> list[Line]:
    """The lines of the table."""
    lines: list[Line] = []
    for group in variants(pending):
        with tempfile.TemporaryDirectory() as folder:
            homes = [_home(Path(folder), variant.backlog) for variant in group]
            for _ in range(rounds - 1):
                for variant, home in zip(group, homes, strict=True):
                    with running(variant.contender, home) as server:
                        variant.ready_seconds.append(server.ready_seconds)
            _load_by_turns(group, homes, rounds * seconds)
            lines += _compare(group)
    return lines + _claimed_from_the_store(rounds, pending)


def _load_by_turns(group: Sequence[Variant], homes: Sequence[Path], turns: int) -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(variant.contender, home))
            for variant, home in zip(group, homes, strict=True)
        ]
        for turn in range(turns):
            first = turn * EVENTS_IN_A_SECOND
            with signed_requests(EVENTS_IN_A_SECOND, first=first) as script:
                for variant, home, server in zip(group, homes, servers, strict=True):
                    variant.done.append(measure(variant.contender, server, home, script, 1))
            told = (f"{variant.done[-1].per_second:.0f}" for variant in group)
            print(f"backlog, turn {turn + 1}: {'  '.join(told)} /s", flush=True)
        for variant, server in zip(group, servers, strict=True):
            variant.ready_seconds.append(server.ready_seconds)
            variant.resident_mb.append(server.resident_mb())


def _compare(group: Sequence[Variant]) -> list[Line]:
    empty, *others = group
    plain = [done.per_second for done in empty.done]
    plain_cpu = [done.cpu_us for done in empty.done]
    lines = [
        Line(f"{empty.name}: done", median(plain), "/s"),
        Line(f"{empty.name}: start to ready", median(empty.ready_seconds), "s"),
    ]
    for each in others:
        rate = ratio([done.per_second for done in each.done], plain)
        cpu = ratio([done.cpu_us for done in each.done], plain_cpu)
        lines += [
            Line(f"{each.name}: done, of that", rate, at_least=AT_LEAST),
            Line(f"{each.name}: CPU for each event, of that", cpu),
            Line(f"{each.name}: memory", max(each.resident_mb), "MB", at_most=250),
            Line(f"{each.name}: start to ready", median(each.ready_seconds), "s", at_most=3),
        ]
    return lines


def _home(folder: Path, backlog: Backlog | None) -> Path:
    """A deployment's folder with this backlog in its file."""
    home = Path(tempfile.mkdtemp(dir=folder))
    if backlog is not None:
        fill(_database(home), backlog)
    return home


def _database(home: Path) -> Path:
    return home / "data" / "clarihook.db"


# -- what is due is claimed and handled -------------------------------------------------------


def _claimed_from_the_store(rounds: int, pending: int) -> list[Line]:
    few, many = 2 * DRAINED, pending
    rates: tuple[list[float], list[float]] = ([], [])
    memory_mb, ready_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        homes = [
            _home(Path(folder), Backlog(pending=each, name=NOTHING_NAME)) for each in (few, many)
        ]
        for number in range(rounds):
            for home, found in zip(homes, rates, strict=True):
                with _copy(home) as copied, running(PLAIN, copied) as server:
                    found.append(_drain_rate(copied))
                    memory_mb.append(server.resident_mb())
                    ready_seconds.append(server.ready_seconds)
            print(f"backlog, drained {number + 1}: {rates[0][-1]:.0f}  {rates[1][-1]:.0f} /s",
                  flush=True)  # fmt: skip
        claim_ms = asyncio.run(_claim_ms([_database(home) for home in homes]))
    return [
        Line(f"claim of {CLAIMS_AT_A_TIME}, {few:,} wait", median(claim_ms[0]), "ms"),
        Line(f"claim of {CLAIMS_AT_A_TIME}, {many:,} wait, of that",
             ratio(claim_ms[1], claim_ms[0]), at_most=1.2),
        Line(f"this handler's, due: done, {few:,} wait", median(rates[0]), "/s"),
        Line(f"this handler's, due: done, {many:,} wait, of that",
             ratio(rates[1], rates[0]), at_least=AT_LEAST),
        Line("this handler's, due: memory", max(memory_mb), "MB", at_most=250),
        Line("this handler's, due: start to ready", median(ready_seconds[1::2]), "s", at_most=3),
    ]  # fmt: skip


@contextmanager
def _copy(home: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        copied = _database(Path(folder))
        copied.parent.mkdir()
        with _database(home).open("rb") as original, copied.open("wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            # Else the server's first checkpoint would wait for the whole copy to be written.
            os.fsync(copy.fileno())
        yield Path(folder)


async def _claim_ms(databases: Sequence[Path]) -> list[list[float]]:
    """How long claims take, on each database by turns."""
    took: list[list[float]] = [[] for _ in databases]
    async with AsyncExitStack() as stack:
        stores = [SqliteStore(database) for database in databases]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        for _ in range(CLAIM_ROUNDS):
            now_ms = int(time.time() * 1000)
            for store, found in zip(stores, took, strict=True):
                begun = time.perf_counter()
                claims = await store.claim({NOTHING_NAME: CLAIMS_AT_A_TIME}, now_ms=now_ms)
                found.append((time.perf_counter() - begun) * 1000)
                assert len(claims) == CLAIMS_AT_A_TIME, "more than enough wait"
    return took


def _drain_rate(home: Path) -> float:
    """Deliveries done in a second, of those that wait."""
    first, begun = handled_by_clarihook(home, 0), time.monotonic()
    while True:
        looked = time.monotonic()
        done = handled_by_clarihook(home, 0) - first
        if done >= DRAINED // 2:
            return done / (looked - begun)
        time.sleep(0.02)
