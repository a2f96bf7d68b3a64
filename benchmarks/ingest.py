"""How fast webhooks are accepted, as ratios to a Starlette app that does nothing.

    python benchmarks/ingest.py --rounds 5 --seconds 5

Each round starts every server afresh, one at a time, with an empty database, and loads it with
wrk at 64 connections. Ratios are made within a round; the medians of the rounds are printed.
"""

import argparse
import sqlite3
import statistics
import tempfile
from pathlib import Path

from contenders import BARE, NOTHING, Contender, clarihook, handled_by_clarihook, running, uvicorn
from load import EVENT, Load, load, signed_requests

CONTENDERS = (
    Contender(BARE, uvicorn("bare")),
    Contender("clarihook, accepting", clarihook(NOTHING.replace(EVENT, "no.such_event"))),
    Contender("clarihook, handling", clarihook(), handled_by_clarihook),
    Contender("hookrelay", uvicorn("relay")),
)


def measure(contender: Contender, script: Path, seconds: int) -> Load:
    """One round of one contender."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running(contender, home) as server:
            result = load(server.url, script, seconds=seconds)
            if contender.done is not None:
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


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", help="names of contenders, comma separated; parts will do")
    options = parser.parse_args()
    chosen = [c for c in CONTENDERS if _is_chosen(c, options.only)]
    results: dict[str, list[Load]] = {contender.name: [] for contender in chosen}
    for number in range(options.rounds):
        print(f"round {number + 1}", flush=True)
        with signed_requests(30_000 * options.seconds) as script:
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
