"""`clarihook replay --dry-run`: what a replay would repeat."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import opened, store_of
from receiver.cli.hosting import planner_of
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.times import iso
from receiver.model import Event, from_ms, to_ms
from receiver.replay import PlanEvent, Selection, count
from receiver.settings import Settings
from receiver.store.base import EventFilter
from receiver.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from receiver.registry import Registry

_FIRST = 10
_BUCKETS = 20
_BAR_WIDTH = 40


def preview(
    settings: Settings, registry: "Registry", selection: Selection, *, as_json: bool
) -> None:
    """Print the count, the span, how the events spread over it, and the first ten."""
    from receiver.engine import Engine  # noqa: PLC0415 - slow

    plan = planner_of(Engine(settings, store_of(settings, "reader"), registry))
    document = asyncio.run(_look(settings, plan, selection))
    if as_json:
        print_json(document)
    else:
        _print(document)


async def _look(settings: Settings, plan: PlanEvent, selection: Selection) -> dict[str, Any]:
    async with opened(settings, "reader") as store:
        total = await count(store, selection)
        which = selection.filter()
        first = await store.events(which, limit=_FIRST, newest=selection.newest)
        ends = [
            event
            for newest in (False, True)
            for event in await store.events(which, limit=1, newest=newest)
        ]
        histogram = await _histogram(store, which, ends) if ends else []
    return {
        "selection": selection.words(),
        "events": total,
        "from": iso(ends[0].received_at) if ends else None,
        "to": iso(ends[-1].received_at) if ends else None,
        "histogram": histogram,
        "first": [
            {
                "id": event.id,
                "received_at": iso(event.received_at),
                "type": event.type,
                "handlers": [
                    new.name for new in plan(event) if selection.handler in (None, new.name)
                ],
            }
            for event in first
        ],
    }


async def _histogram(
    store: SqliteStore, which: EventFilter, ends: list[Event]
) -> list[dict[str, Any]]:
    """How many events in each twentieth of the span."""
    begin, end = to_ms(ends[0].received_at), to_ms(ends[-1].received_at) + 1
    buckets = min(_BUCKETS, end - begin)
    edges = [begin + (end - begin) * n // buckets for n in range(buckets + 1)]
    return [
        {
            "from": iso(from_ms(low)),
            "events": await store.count_events(replace(which, since_ms=low, until_ms=high)),
        }
        for low, high in pairwise(edges)
    ]


def _print(document: dict[str, Any]) -> None:
    print_line(f"{document['selection']}: {document['events']} events", "bold")
    if not document["events"]:
        return
    print_line(f"from {document['from']} to {document['to']}")
    print_line()
    most = max(bucket["events"] for bucket in document["histogram"])
    for bucket in document["histogram"]:
        bar = "█" * round(_BAR_WIDTH * bucket["events"] / most)
        print_line(f"  {bucket['from']}  {bucket['events']:8}  {bar}".rstrip())
    print_line()
    print_table(
        ("first", "received", "type", "handlers"),
        [
            (e["id"], e["received_at"], e["type"], ", ".join(e["handlers"]) or "none")
            for e in document["first"]
        ],
    )
    print_line("nothing was done")
