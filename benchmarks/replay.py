"""How fast stored events are replayed, and what live ones notice of it.

    python benchmarks/replay.py --rounds 3 --events 100000

A server runs; `clarihook replay` repeats every stored event through a handler that does nothing,
and meanwhile live events come one at a time, as they did before it, while the server was idle.
The rate is compared with that of live events under load (`dispatch.py`'s throughput). Printed is
the median of the rounds, with what issue 6 asks for. Exit status 1: something is not met.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backlog import Backlog, fill
from contenders import Contender, clarihook, count, python, resident_mb, running
from latency import STAMPING, Live, percentiles
from load import FIRST_ID, signed_requests
from report import Line, ratio, show
from throughput import CLARIHOOK, measure

IDLE_EVENTS = 300
HANDLER = STAMPING.replace("    now =", f"    if event.data.data_source_id < {FIRST_ID}:\n"
                                        "        return\n    now =")  # fmt: skip
"""Stamps live events only; those in the file have small numbers."""


@dataclass(frozen=True)
class Round:
    """What one round has measured."""

    replayed_per_second: float
    live_per_second: float
    idle_ms: tuple[float, float]
    """p50 and p99, from a live event's request to its handler's start."""
    busy_ms: tuple[float, float]
    server_mb: float
    command_mb: float


def measure_round(events: int, seconds: int) -> Round:
    """One round, on files of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with (
            running(CLARIHOOK, home) as server,
            signed_requests(30_000 * seconds) as script,
        ):
            loaded = measure(CLARIHOOK, server, home, script, seconds)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home / "data" / "clarihook.db", Backlog(pending=events, name=None))
        with running(Contender("clarihook", clarihook(HANDLER)), home) as server:
            live = Live(server.url, home)
            live.send(IDLE_EVENTS)
            idle_ms = percentiles(live.take_ms())
            command_mb = _replay(home, live)
            busy_ms = percentiles(live.take_ms())
            server_mb = server.resident_mb()
            live.close()
        return Round(
            _replayed_per_second(home, events),
            loaded.per_second,
            idle_ms,
            busy_ms,
            server_mb,
            command_mb,
        )


def _replay(home: Path, live: Live) -> float:
    """Replay all and send live events meanwhile; the command's memory, at its most."""
    command = python("receiver.cli", "replay", "--home", str(home), "--until", "1m")
    most_mb = 0.0
    with Path(home, "replay.log").open("wb") as log:
        environment = os.environ | {"BENCH_HOME": str(home)}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            most_mb = max(most_mb, resident_mb(process.pid))
            live.send(10)
    if process.returncode != 0:
        raise SystemExit(f"the replay failed: {Path(home, 'replay.log').read_text('utf-8')}")
    return most_mb


def _replayed_per_second(home: Path, events: int) -> float:
    """From the replay's beginning to its last recorded success; each event must have run once."""
    database = home / "data" / "clarihook.db"
    once = count(database, """
        SELECT count(*)
        FROM (SELECT 1 FROM deliveries WHERE replay_id = 1 AND state = 'succeeded'
              GROUP BY event_seq HAVING sum(attempts) = 1)
    """)  # fmt: skip
    assert once == events, f"{once} of {events} ran exactly once"
    took_ms = count(database, """
        SELECT max(finalized_at) - (SELECT created_at FROM replays WHERE id = 1)
        FROM deliveries
        WHERE replay_id = 1
    """)  # fmt: skip
    return events / took_ms * 1000


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000, help="that are stored")
    parser.add_argument("--seconds", type=int, default=5, help="of load, to compare with")
    options = parser.parse_args()
    rounds: list[Round] = []
    for number in range(options.rounds):
        rounds.append(measure_round(options.events, options.seconds))
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    replayed = [each.replayed_per_second for each in rounds]
    loaded = [each.live_per_second for each in rounds]
    slower = ratio([each.busy_ms[1] for each in rounds], [each.idle_ms[1] for each in rounds])
    lines = [
        Line("live events under load, done", median(loaded), "/s"),
        Line("replayed events, done", median(replayed), "/s"),
        Line("replayed events, of that", ratio(replayed, loaded), at_least=0.5),
        Line("memory of the server", max(each.server_mb for each in rounds), "MB", at_most=200),
        Line("memory of the command", max(each.command_mb for each in rounds), "MB", at_most=200),
        Line("live event, idle server, p50", median(r.idle_ms[0] for r in rounds), "ms"),
        Line("live event, idle server, p99", median(r.idle_ms[1] for r in rounds), "ms"),
        Line("live event, during the replay, p50", median(r.busy_ms[0] for r in rounds), "ms"),
        Line("live event, during the replay, p99", median(r.busy_ms[1] for r in rounds), "ms"),
        Line("live event, p99 during the replay, times idle", slower, at_most=3),
    ]
    sys.exit(0 if show(f"Replay of {options.events:,} events", lines) else 1)


if __name__ == "__main__":
    main()
