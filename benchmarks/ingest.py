"""How fast webhooks are accepted, as ratios to a Starlette app that does nothing.

    python benchmarks/ingest.py --rounds 5 --seconds 5

Each round starts every server afresh, one at a time, with an empty database, and loads it with
wrk at 64 connections. Ratios are made within a round; the medians of the rounds are printed.
"""

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from load import SECRET, Load, load, signed_requests

HERE = Path(__file__).parent
EVENT = "data_source.sync_completed"

_HANDLER = """
from receiver import Context, on
from receiver.events import SyncCompleted


@on("{pattern}")
async def nothing(event: SyncCompleted, ctx: Context) -> None:
    pass
"""


@dataclass(frozen=True)
class Contender:
    """A server that takes part."""

    name: str
    start: Callable[[Path], list[str]]
    """Prepares its folder; returns the command that starts it on `{port}`."""
    is_handling: bool = False


def clarihook(pattern: str) -> Callable[[Path], list[str]]:
    """`clarihook serve` as it comes, with one handler for `pattern`."""

    def start(home: Path) -> list[str]:
        (home / "config").mkdir()
        (home / "handlers").mkdir()
        settings = f'[sources.claribi]\nscheme = "claribi"\nsecrets = ["{SECRET}"]\n'
        (home / "config" / "clarihook.toml").write_text(settings, "utf-8")
        (home / "handlers" / "nothing.py").write_text(_HANDLER.format(pattern=pattern), "utf-8")
        return [sys.executable, "-m", "receiver.cli", "serve", "--home", str(home), "--port",
                "{port}"]  # fmt: skip

    return start


def uvicorn(module: str) -> Callable[[Path], list[str]]:
    """An app of `benchmarks/servers` under uvicorn, with the loop and parser that we use too."""

    def start(_home: Path) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE / "servers"),
                f"{module}:app", "--port", "{port}", "--no-access-log", "--log-level",
                "warning"]  # fmt: skip

    return start


BARE = "bare Starlette"
CONTENDERS = (
    Contender(BARE, uvicorn("bare")),
    Contender("clarihook, accepting", clarihook("no.such_event")),
    Contender("clarihook, handling", clarihook(EVENT), is_handling=True),
    Contender("hookrelay", uvicorn("relay")),
)


@contextmanager
def running(contender: Contender, home: Path) -> Iterator[str]:
    """The contender's base URL, once it answers."""
    port = _free_port()
    command = [part.format(port=port) for part in contender.start(home)]
    environment = os.environ | {
        "BENCH_SECRET": SECRET,
        "BENCH_DATABASE": f"sqlite+aiosqlite:///{home}/relay.db",
    }
    with Path(home, "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}/hooks/claribi"
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(contender: Contender, script: Path, seconds: int) -> Load:
    """One round of one contender."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running(contender, home) as url:
            result = load(url, script, seconds=seconds)
            if contender.is_handling:
                _check_handled(home / "data" / "clarihook.db", result)
        if result.failures:
            print(f"  {contender.name}: {result.failures} of {result.requests} failed")
        return result


def _check_handled(database: Path, result: Load) -> None:
    """What was accepted has to be handled as well, at once and not some time later."""
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        query = "SELECT count(*), sum(state = 'succeeded') FROM deliveries"
        stored, handled = connection.execute(query).fetchone()
    if stored < result.requests or handled < 0.99 * result.requests:
        raise SystemExit(f"of {result.requests} accepted, {stored} stored, {handled} handled")


def _free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx2.get(url, timeout=1)
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{process.args} did not start")


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", help="names of contenders, comma separated; parts will do")
    options = parser.parse_args()
    chosen = [c for c in CONTENDERS if _is_chosen(c, options.only)]
    results: dict[str, list[Load]] = {contender.name: [] for contender in chosen}
    with signed_requests(30_000 * options.seconds, event=EVENT) as script:
        for number in range(options.rounds):
            print(f"round {number + 1}", flush=True)
            for contender in chosen:
                results[contender.name].append(measure(contender, script, options.seconds))
    print(f"{'':24}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'of bare':>10}{'p99 x bare':>12}")
    for name, loads in results.items():
        rate, p50, p99 = (
            statistics.median(getattr(each, field) for each in loads)
            for field in ("requests_per_second", "p50_ms", "p99_ms")
        )
        of_bare = statistics.median(
            mine.requests_per_second / bare.requests_per_second
            for mine, bare in zip(loads, results[BARE], strict=True)
        )
        slower = statistics.median(
            mine.p99_ms / bare.p99_ms for mine, bare in zip(loads, results[BARE], strict=True)
        )
        print(f"{name:24}{rate:10.0f}{p50:10.2f}{p99:10.2f}{of_bare:10.2f}{slower:12.1f}")


def _is_chosen(contender: Contender, only: str | None) -> bool:
    if only is None or contender.name == BARE:
        return True
    return any(part.strip() in contender.name for part in only.split(","))


if __name__ == "__main__":
    main()
