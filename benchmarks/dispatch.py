"""How fast and how soon events are handled, as ratios to a Starlette app that does nothing.

    python benchmarks/dispatch.py --rounds 5 --seconds 5

Three parts, of which `--only` chooses: `throughput` (with hookrelay and huey), `latency`, and
`backlog` (a million deliveries wait; it needs 5 GB in the temporary folder). Ratios are made
within a round, in which every contender starts afresh; their medians are printed, each with what
issue 4 asks for. Exit status 1: something is not met.
"""

import argparse
import sys

import latency
import throughput
import under_backlog
from report import show

PARTS = ("throughput", "latency", "backlog")


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of load, in each round")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma separated")
    parser.add_argument("--pending", type=int, default=1_000_000, help="deliveries that wait")
    parser.add_argument("--events", type=int, default=1000, help="sent one at a time")
    options = parser.parse_args()
    chosen = [part.strip() for part in options.only.split(",")]
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    rounds, seconds, pending = options.rounds, options.seconds, options.pending
    tables = []
    if "throughput" in chosen:
        title = "Throughput, from request to recorded success"
        tables.append((title, throughput.run(rounds, seconds)))
    if "latency" in chosen:
        tables.append(("Latency, one event at a time", latency.run(options.events)))
    if "backlog" in chosen:
        title = f"With {pending:,} deliveries waiting"
        tables.append((title, under_backlog.run(rounds, seconds, pending)))
    are_met = [show(title, lines) for title, lines in tables]
    sys.exit(0 if all(are_met) else 1)


if __name__ == "__main__":
    main()
