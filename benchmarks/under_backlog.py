"""The same with a million deliveries in the file that wait, compared with an empty file."""

import asyncio
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from throughput import Done, measure, tell

from receiver.store.sqlite import SqliteStore

CLAIMS_AT_A_TIME = 64
CLAIM_ROUNDS = 100
DRAINED = 20_000

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
    with tempfile.TemporaryDirectory() as folder:
        for group in variants(pending):
            results: dict[str, list[Done]] = defaultdict(list)
            files = {each.name: _filled(Path(folder), each.backlog) for each in group}
            for number in range(rounds):
                print(f"backlog, round {number + 1}", flush=True)
                with signed_requests(30_000 * seconds) as script:
                    for variant in group:
                        with _home(files[variant.name]) as home:
                            done = measure(variant.contender, home, script, seconds)
                        results[variant.name].append(done)
                        tell(variant.name, done)
            lines += _compare(results)
            for file in files.values():
                if file is not None:
                    file.unlink()
        lines += _drain(Path(folder), rounds, pending)
    return lines


def _compare(results: dict[str, list[Done]]) -> list[Line]:
    (empty, plain), *others = results.items()
    lines = [
        Line(f"{empty}: done", median(done.per_second for done in plain), "/s"),
        Line(f"{empty}: start to ready", median(done.ready_seconds for done in plain), "s"),
    ]
    for name, full in others:
        rate = ratio([done.per_second for done in full], [done.per_second for done in plain])
        cpu = ratio([done.cpu_us for done in full], [done.cpu_us for done in plain])
        ready = median(done.ready_seconds for done in full)
        lines += [
            Line(f"{name}: done, of that", rate, at_least=AT_LEAST),
            Line(f"{name}: CPU for each, of that", cpu),
            Line(f"{name}: memory", max(done.resident_mb for done in full), "MB", at_most=250),
            Line(f"{name}: start to ready", ready, "s", at_most=3),
        ]
    return lines


def _filled(folder: Path, backlog: Backlog | None) -> Path | None:
    """A file with this backlog."""
    if backlog is None:
        return None
    file = Path(tempfile.mkdtemp(dir=folder), "clarihook.db")
    fill(file, backlog)
    return file


@contextmanager
def _home(file: Path | None) -> Iterator[Path]:
    """A deployment's folder with a copy of the file."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if file is not None:
            (home / "data").mkdir()
            shutil.copy(file, home / "data" / "clarihook.db")
        yield home


# -- what is due is claimed and handled -------------------------------------------------------


def _drain(folder: Path, rounds: int, pending: int) -> list[Line]:
    few = _filled(folder, Backlog(pending=2 * DRAINED, name=NOTHING_NAME))
    many = _filled(folder, Backlog(pending=pending, name=NOTHING_NAME))
    rates: dict[bool, list[float]] = {False: [], True: []}
    waits: dict[bool, list[float]] = {False: [], True: []}
    memory = ready = 0.0
    for _ in range(rounds):
        for is_full, file in ((False, few), (True, many)):
            with _home(file) as home:
                waits[is_full].append(asyncio.run(_claim_ms(home / "data" / "clarihook.db")))
            with _home(file) as home, running(PLAIN, home) as server:
                rates[is_full].append(_drain_rate(home))
                if is_full:
                    memory, ready = max(memory, server.resident_mb()), server.ready_seconds
    return [
        Line(f"claim of {CLAIMS_AT_A_TIME}, {2 * DRAINED:,} wait", median(waits[False]), "ms"),
        Line(f"claim of {CLAIMS_AT_A_TIME}, {pending:,} wait, of that",
             ratio(waits[True], waits[False]), at_most=1.2),
        Line(f"this handler's, due: done, {2 * DRAINED:,} wait", median(rates[False]), "/s"),
        Line(f"this handler's, due: done, {pending:,} wait, of that",
             ratio(rates[True], rates[False]), at_least=AT_LEAST),
        Line("this handler's, due: memory", memory, "MB", at_most=250),
        Line("this handler's, due: start to ready", ready, "s", at_most=3),
    ]  # fmt: skip


async def _claim_ms(database: Path) -> float:
    """The median time of a claim."""
    store = SqliteStore(database)
    await store.open()
    took: list[float] = []
    try:
        for _ in range(CLAIM_ROUNDS):
            now_ms = int(time.time() * 1000)
            begun = time.perf_counter()
            claims = await store.claim({NOTHING_NAME: CLAIMS_AT_A_TIME}, now_ms=now_ms)
            took.append((time.perf_counter() - begun) * 1000)
            assert len(claims) == CLAIMS_AT_A_TIME, "more than enough wait"
    finally:
        await store.close()
    return median(took)


def _drain_rate(home: Path) -> float:
    """Deliveries done in a second, of those that wait."""
    first, begun = handled_by_clarihook(home, 0), time.monotonic()
    while True:
        looked = time.monotonic()
        done = handled_by_clarihook(home, 0) - first
        if done >= DRAINED // 2:
            return done / (looked - begun)
        time.sleep(0.02)
