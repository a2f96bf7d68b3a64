"""`clarihook events tail`: events as they come."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

import typer

from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption
from receiver.cli.output import print_line
from receiver.cli.records import event_record
from receiver.cli.selecting import SourceOption, TypeOption, event_filter
from receiver.cli.times import SinceOption, iso
from receiver.model import Event, to_ms
from receiver.settings import Settings, load_settings
from receiver.store.base import EventFilter
from receiver.store.sqlite import SqliteStore

POLL_SECONDS = 0.2
_PAGE = 200
_LATE_MS = 5_000
"""An event may be committed so much after one that came later: ids tell when each came."""


def tail(
    *,
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    body: Annotated[bool, typer.Option("--body", help="Show the bodies too.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    home: HomeOption = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Show events as they come, until Ctrl-C; with --since, first those that came since.

    Example: clarihook events tail --type 'report.*' --since 1h --body
    """
    which = event_filter(type_, source, since or "now", None)

    async def watch() -> None:
        left = count
        async for event in _events(load_settings(home, needs_secrets=False), which):
            _print(event, with_body=body, as_json=as_json)
            if left is not None and (left := left - 1) == 0:
                return

    try:
        asyncio.run(watch())
    except KeyboardInterrupt:
        return


async def _events(settings: Settings, which: EventFilter) -> AsyncIterator[Event]:
    """All events, each once, in the order in which they came (but for late commits)."""
    async with opened(settings, "reader") as store:
        seen: dict[str, int] = {}
        while True:
            began_ms = int(time.time() * 1000)
            async for event in _pages(store, which):
                if event.id not in seen:
                    seen[event.id] = to_ms(event.received_at)
                    yield event
            horizon_ms = max(which.since_ms or 0, began_ms - _LATE_MS)
            which = replace(which, since_ms=horizon_ms)
            seen = {event_id: ms for event_id, ms in seen.items() if ms >= horizon_ms}
            await asyncio.sleep(POLL_SECONDS)


async def _pages(store: SqliteStore, which: EventFilter) -> AsyncIterator[Event]:
    while page := await store.events(which, limit=_PAGE, newest=False):
        for event in page:
            yield event
        which = replace(which, after=page[-1].id)


def _print(event: Event, *, with_body: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event_record(event)), flush=True)
        return
    head = f"{iso(event.received_at)}  {event.id}  {event.source}  {event.type}"
    print_line(f"{head}  {len(event.body)} bytes", "bold" if with_body else "")
    if with_body:
        from receiver.cli.events import body_lines  # noqa: PLC0415 - that one imports this one

        for line in body_lines(event.body):
            print_line(f"  {line}")
