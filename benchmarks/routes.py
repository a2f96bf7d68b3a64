"""How fast settings with many routes load, and what routing one event by them costs.

    python benchmarks/routes.py --rounds 5 --events 2000

200 routes with conditions and 50 channels are read from a file; then events are routed, of a type
that every one of the routes is for. The ratio is to Python functions that decide the same of the
same values. Last, some conditions that are as costly as any is allowed to be, over a body of a
megabyte: as long nothing else runs. Loading and routing wait for nothing, so their times are the
processor's: what else the machine does is left out. Exit status 1: something is not met.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from latency import percentiles
from report import Line, ratio, show

from receiver.model import Event, EventId
from receiver.notify import Notifier
from receiver.notify.condition import Condition
from receiver.notify.routes import RouteTable
from receiver.settings import Settings, load_settings

TYPE = "billing.credits_low"
CHANNELS = 50
ROUTES = 200
Decide = Callable[[dict[str, Any]], bool]
KINDS: list[tuple[str, Callable[[int], Decide]]] = [
    ("event.data.remaining < {n}", lambda n: lambda e: e["data"]["remaining"] < n),
    ("event.data.plan == 'plan-{n}'", lambda n: lambda e: e["data"]["plan"] == f"plan-{n}"),
    ("has(event.data.team) && event.data.team.id == {n}",
     lambda n: lambda e: "team" in e["data"] and e["data"]["team"]["id"] == n),
    ("event.data.tags.exists(t, t == 'tag-{n}')",
     lambda n: lambda e: any(tag == f"tag-{n}" for tag in e["data"]["tags"])),
    ("source == 'claribi' && event.data.used / 2 > {n} + 1000000",
     lambda n: lambda e: e["data"]["used"] / 2 > n + 1_000_000),
]  # fmt: skip
COSTLY = {
    "a loop over 10,000 objects": "event.data.items.exists(x, x.i == -1)",
    "a loop in a loop": "event.data.few.all(x, event.data.few.all(y, y.i >= x.i - 999))",
    "lists compared in a loop": "event.data.few.exists(x, event.data.few != event.data.few)",
    "more than it may look at": "event.data.all.exists(x, x.i == -1)",
}


def write_home(home: Path, routes: int, channels: int) -> None:
    """The settings, as a file."""
    (home / "config").mkdir()
    parts = [
        f'[channels.channel-{n}]\nurls = ["json://127.0.0.1:9/{n}", "file://data/{n}.jsonl"]\n'
        for n in range(channels)
    ]
    parts += [
        f'[[routes]]\nname = "route-{n}"\nmatch = "billing.*"\n'
        f"when = {json.dumps(KINDS[n % len(KINDS)][0].format(n=n))}\n"
        f'notify = ["channel-{n % channels}"]\ntitle = "{{{{ event.data.remaining }}}} left"\n'
        for n in range(routes)
    ]
    (home / "config" / "clarihook.toml").write_text(
        '[sources.claribi]\nscheme = "claribi"\nsecrets = ["made-up-secret-for-benchmarks"]\n'
        + "\n".join(parts)
    )


def body(number: int, *, speaks: bool = True) -> dict[str, Any]:
    """An event like a real one, by which about one route of a hundred speaks, or none."""
    return {
        "event": TYPE,
        "timestamp": "2026-03-01T12:00:00Z",
        "data": {
            "remaining": ROUTES - 5 if speaks else ROUTES, "used": 9_000 + number,
            "limit": 10_000, "plan": "plan-1" if speaks else "plan-x",
            "organization": {"id": 17, "name": "Acme", "seats": list(range(20))},
            "tags": ["a", "b", "tag-3" if speaks else "tag-x"], "contact": "ops@example.com",
        },
    }  # fmt: skip


def event(value: dict[str, Any]) -> Event:
    """As a claim has it: the body is bytes, not yet parsed."""
    return Event(
        id=EventId("evt_1"),
        seq=1,
        source="claribi",
        type=TYPE,
        received_at=datetime.now(UTC),
        body=json.dumps(value).encode(),
    )


def load_seconds(home: Path) -> tuple[float, Settings, RouteTable]:
    """How long it takes from the file to what runs by it."""
    begun = time.process_time()
    settings = load_settings(home, {})
    table = RouteTable(settings.routes)
    Notifier.from_settings(settings.channels, home=home)
    return time.process_time() - begun, settings, table


def start_seconds(home: Path) -> float:
    """The same in a new process, with all that it imports."""
    begun = time.perf_counter()
    code = "from routes import *; load_seconds(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, home], check=True, cwd=Path(__file__).parent)
    return time.perf_counter() - begun


def route_ms(table: RouteTable, events: int, *, speaks: bool) -> list[float]:
    """How long each event takes, its JSON included; and the messages' text, if some speak."""
    times = []
    for number in range(events):
        one = event(body(number, speaks=speaks))
        begun = time.process_time_ns()
        routed = table.route(one)
        times.append((time.process_time_ns() - begun) / 1e6)
        assert bool(routed.messages) is speaks
    return times


def python_ms(routes: int, events: int) -> list[float]:
    """How long Python functions take to decide the same."""
    decide = [KINDS[n % len(KINDS)][1](n) for n in range(routes)]
    times = []
    for number in range(events):
        one = event(body(number))
        begun = time.process_time_ns()
        value = json.loads(one.body)
        said = [each(value) for each in decide]
        times.append((time.process_time_ns() - begun) / 1e6)
        assert any(said), "the same ones speak"
    return times


def longest_ms() -> dict[str, float]:
    """How long the costliest conditions take."""
    few, items = ([{"i": n} for n in range(count)] for count in (248, 9_999))
    large = event({"data": {"few": few, "items": items, "all": items * 4, "log": "x" * 300_000}})
    assert len(large.body) > 900_000, "it is a megabyte"
    large.json  # noqa: B018 - parsed, as the event's other readers need it too
    found = {}
    for what, expression in COSTLY.items():
        condition = Condition(expression)
        begun = time.process_time()
        condition.refusal(large)
        found[what] = (time.process_time() - begun) * 1000
    return found


def main() -> None:
    """Measure, print, and say by the exit status whether all is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--routes", type=int, default=ROUTES)
    parser.add_argument("--channels", type=int, default=CHANNELS)
    options = parser.parse_args()
    loads, starts, baselines = [], [], []
    matched: list[tuple[float, float]] = []
    told: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_home(home, options.routes, options.channels)
        for _ in range(options.rounds):
            starts.append(start_seconds(home))
            seconds, settings, table = load_seconds(home)
            loads.append(seconds)
            assert len(settings.routes) == options.routes, "all were read"
            matched.append(percentiles(route_ms(table, options.events, speaks=False)))
            told.append(percentiles(route_ms(table, options.events, speaks=True)))
            baselines.append(percentiles(python_ms(options.routes, options.events))[0])
    title = f"{options.routes} routes, {options.channels} channels, {options.events} events a round"
    lines = [
        Line("settings loaded and compiled", median(loads), "s", at_most=1),
        Line("in a new process, with its imports", median(starts), "s"),
        Line("one event matched against all routes, p50", median(each[0] for each in matched),
             "ms", at_most=1),
        Line("one event matched against all routes, p99", median(each[1] for each in matched),
             "ms", at_most=1),
        Line("the same and two messages rendered, p50", median(each[0] for each in told), "ms"),
        Line("the same and two messages rendered, p99", median(each[1] for each in told), "ms"),
        Line("as many times as long as Python functions, p50",
             ratio([each[0] for each in matched], baselines), at_most=25),
        *(
            Line(f"one condition, a body of 1 MB: {what}", milliseconds, "ms", at_most=250)
            for what, milliseconds in longest_ms().items()
        ),
    ]  # fmt: skip
    sys.exit(0 if show(title, lines) else 1)


if __name__ == "__main__":
    main()
