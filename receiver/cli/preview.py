"""`clarihook replay --dry-run`: what a replay would repeat."""

import asyncio
from array import array
from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import store_of
from receiver.cli.output import print_json, print_line, print_table, print_warning
from receiver.cli.times import iso
from receiver.guard import shown
from receiver.model import Event, from_ms, to_ms
from receiver.replay import Scanner, Selection
from receiver.settings import Settings

if TYPE_CHECKING:
    from receiver.engine import Engine
    from receiver.registry import Registry
    from receiver.store.sqlite import SqliteStore

_FIRST = 10
_BUCKETS = 20
_BAR_WIDTH = 40


def preview(
    settings: Settings,
    registry: "Registry",
    selection: Selection,
    *,
    to: str | None,
    as_json: bool,
) -> None:
    """Print the count, the span, how the events spread over it, and the first ten."""
    from receiver.engine import Engine  # noqa: PLC0415 - slow

    engine = Engine(settings, store_of(settings, "reader"), registry)
    document = asyncio.run(_look(engine, selection, to))
    if as_json:
        print_json(document)
    else:
        _print(document)


async def _look(engine: "Engine", selection: Selection, to: str | None) -> dict[str, Any]:
    await engine.store.open()
    try:
        scanner = Scanner(engine.store, selection)
        if selection.where is None and selection.limit is None:
            times = _Counted(engine.store, selection)
            first = [candidate.event for candidate in await scanner.page(at_most=_FIRST)]
            spread = await times.spread()
        else:
            first, spread = await _read_through(scanner)
        becomes = await engine.repeater.deliveries(first, selection)
    finally:
        await engine.store.close()
    return {
        "selection": selection.words(),
        **spread,
        "undecided": scanner.undecided,
        "why_undecided": scanner.why_undecided or None,
        "first": [
            {
                "id": event.id,
                "received_at": iso(event.received_at),
                "type": event.type,
                "becomes": [f"POST {shown(to)}"]
                if to
                else [new.name for new in becomes.get(event.id, ())],
            }
            for event in first
        ],
    }


async def _read_through(scanner: Scanner) -> tuple[list[Event], dict[str, Any]]:
    """The first ten, and how all are spread: for what a count in the store can't tell."""
    first: list[Event] = []
    times = array("q")  # 8 bytes for each, so that a million are no burden
    async for event in scanner.events():
        if len(first) < _FIRST:
            first.append(event)
        times.append(to_ms(event.received_at))
    if not times:
        return [], _spread(0)
    edges = _edges(min(times), max(times))
    counts = [0] * (len(edges) - 1)
    for moment in times:
        counts[bisect_right(edges, moment) - 1] += 1
    return first, _spread(len(times), edges, counts)


class _Counted:
    """Counts in the store, without reading the events."""

    def __init__(self, store: "SqliteStore", selection: Selection) -> None:
        self._store = store
        self._which = selection.filter()

    async def spread(self) -> dict[str, Any]:
        """How many there are, and in each twentieth of their span."""
        ends = [
            to_ms(event.received_at)
            for newest in (False, True)
            for event in await self._store.events(self._which, limit=1, newest=newest)
        ]
        if not ends:
            return _spread(0)
        edges = _edges(*ends)
        counts = [
            await self._store.count_events(replace(self._which, since_ms=low, until_ms=high))
            for low, high in pairwise(edges)
        ]
        return _spread(sum(counts), edges, counts)


def _edges(first_ms: int, last_ms: int) -> list[int]:
    """The edges of up to 20 equal spans, of which the last ends after the last moment."""
    begin, end = first_ms, last_ms + 1
    buckets = min(_BUCKETS, end - begin)
    return [begin + (end - begin) * n // buckets for n in range(buckets + 1)]


def _spread(
    total: int, edges: list[int] | None = None, counts: list[int] | None = None
) -> dict[str, Any]:
    edges = edges or []
    return {
        "events": total,
        "from": iso(from_ms(edges[0])) if edges else None,
        "to": iso(from_ms(edges[-1] - 1)) if edges else None,
        "histogram": [
            {"from": iso(from_ms(low)), "events": count}
            for low, count in zip(edges, counts or [], strict=False)
        ],
    }


def _print(document: dict[str, Any]) -> None:
    number = document["events"]
    print_line(f"{document['selection']}: {number} {'event' if number == 1 else 'events'}", "bold")
    if document["undecided"]:
        print_warning(
            f"--where could not be decided for {document['undecided']} events, which are left out: "
            f"{document['why_undecided']}"
        )
    if not number:
        return
    print_line(f"from {document['from']} to {document['to']}")
    print_line()
    most = max(bucket["events"] for bucket in document["histogram"])
    for bucket in document["histogram"]:
        bar = "█" * round(_BAR_WIDTH * bucket["events"] / most)
        print_line(f"  {bucket['from']}  {bucket['events']:8}  {bar}".rstrip())
    print_line()
    print_table(
        ("first", "received", "type", "becomes"),
        [
            (e["id"], e["received_at"], e["type"], ", ".join(e["becomes"]) or "nothing")
            for e in document["first"]
        ],
    )
    print_line("nothing was done")
