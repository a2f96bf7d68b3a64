"""From HTTP request to recorded success: events that are fully done, in a second."""

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from contenders import (
    BARE,
    Contender,
    Running,
    clarihook,
    count,
    handled_by_clarihook,
    python,
    running,
    uvicorn,
)
from load import load, signed_requests
from report import Line, ratio

DRAIN_SECONDS = 60
"""How long what was accepted may take to be handled, once the load has ended."""


def _handled_by_relay(home: Path, _accepted: int) -> int:
    return count(home / "relay.db", "SELECT count(*) FROM hookrelay_events WHERE status='success'")


def _handled_by_huey(home: Path, accepted: int) -> int:
    # It keeps no record of a task that returned nothing: what has left its queue is done.
    return accepted - count(home / "huey.db", "SELECT count(*) FROM task")


HUEY_CONSUMER = python("huey.bin.huey_consumer", "huey_intake.huey", "-k", "thread", "-w", "2",
                       "-d", "0.01", "-m", "0.05", "-n", "-q")  # fmt: skip
CLARIHOOK = Contender("clarihook", clarihook(), handled_by_clarihook)
CONTENDERS = (
    Contender(BARE, uvicorn("bare")),
    CLARIHOOK,
    Contender("hookrelay", uvicorn("relay_working"), _handled_by_relay),
    Contender("huey", uvicorn("huey_intake", [HUEY_CONSUMER]), _handled_by_huey),
)


@dataclass(frozen=True)
class Done:
    """What one contender did in one round."""

    per_second: float
    """Events accepted, handled and recorded, from the first request to the last record."""
    cpu_us: float
    """The server's computing time, for each of them."""


def measure(contender: Contender, server: Running, home: Path, script: Path, seconds: int) -> Done:
    """Load it, and wait until all that it accepted is done."""
    done_before = 0 if contender.done is None else contender.done(home, 0)
    cpu_before = server.cpu_seconds()
    result = load(server.url, script, seconds=seconds)
    accepted = result.requests - result.failures
    if result.failures:
        print(f"  {contender.name}: {result.failures} of {result.requests} failed")
    done, took = accepted, result.seconds
    if contender.done is not None:
        all_done, more = _wait_until_done(contender, home, done_before + accepted)
        done, took = all_done - done_before, took + more
    cpu_us = (server.cpu_seconds() - cpu_before) / max(1, done) * 1e6
    return Done(done / took, cpu_us)


def _wait_until_done(contender: Contender, home: Path, accepted: int) -> tuple[int, float]:
    """How many are done, and how long after the load the last one was."""
    assert contender.done is not None, "only who handles is waited for"
    begun = time.monotonic()
    while True:
        looked = time.monotonic() - begun
        done = contender.done(home, accepted)
        if done >= accepted or looked > DRAIN_SECONDS:
            return min(done, accepted), looked
        time.sleep(0.01)


def tell(name: str, done: Done) -> None:
    """Print what came out of one round."""
    print(f"  {name:32}{done.per_second:10.0f}/s{done.cpu_us:10.0f} us of its CPU each", flush=True)


def run(rounds: int, seconds: int) -> list[Line]:
    """All contenders by turns; the lines of the table."""
    results: dict[str, list[Done]] = defaultdict(list)
    for number in range(rounds):
        print(f"throughput, round {number + 1}", flush=True)
        with signed_requests(30_000 * seconds) as script:
            for contender in CONTENDERS:
                with (
                    tempfile.TemporaryDirectory() as folder,
                    running(contender, Path(folder)) as server,
                ):
                    done = measure(contender, server, Path(folder), script, seconds)
                results[contender.name].append(done)
                tell(contender.name, done)
    rates = {name: [done.per_second for done in each] for name, each in results.items()}
    ours = rates[CLARIHOOK.name]
    return [
        *(Line(f"{name}, done", median(each), "/s") for name, each in rates.items()),
        Line("clarihook, of bare Starlette", ratio(ours, rates[BARE]), at_least=0.30),
        Line("clarihook, times hookrelay", ratio(ours, rates["hookrelay"]), at_least=15),
        Line("clarihook, times huey", ratio(ours, rates["huey"]), at_least=3),
    ]
