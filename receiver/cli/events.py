"""`clarihook events`: what has come, all that happened with it, and samples to send."""

import asyncio
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from receiver.cli.deployment import find_event, opened
from receiver.cli.forward import forward
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_body, print_json, print_line, print_table
from receiver.cli.records import acknowledgement_record, event_record, event_summary
from receiver.cli.selecting import SourceOption, TypeOption, event_filter, warn_of_mistyped
from receiver.cli.send import send
from receiver.cli.tail import tail
from receiver.cli.times import SinceOption, UntilOption, shown
from receiver.cli.transfer import export, import_
from receiver.cli.tree import print_stories, states_line, story_record
from receiver.model import Acknowledgement, Event, is_internal
from receiver.settings import Settings, load_settings
from receiver.store.base import EventFilter
from receiver.stories import Story, tell

app = typer.Typer(help="Look at what has come, and send samples.")
app.command()(send)
app.command()(tail)
app.command()(forward)
app.command()(export)
app.command("import")(import_)

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]

_PAGE = 100


@app.command("list")
def list_(
    *,
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 20,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List events, the newest first, with the states of their deliveries.

    Example: clarihook events list --type 'data_source.*' --since 2h

    Example: clarihook events list --since yesterday --until today --limit 1000 --json
    """
    which = event_filter(type_, source, since, until)
    settings = load_settings(home, needs_secrets=False)
    rows = asyncio.run(_list(settings, which, limit))
    if not rows:
        warn_of_mistyped(settings, which)
    if as_json:
        print_json({"events": rows})
        return
    columns = ("id", "received", "source", "type", "bytes", "deliveries")
    print_table(
        columns,
        [
            (row["id"], row["received_at"][:19] + "Z", row["source"], row["type"], row["bytes"],
             states_line(row["deliveries"]) or "none")
            for row in rows
        ],
    )  # fmt: skip


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the exact bytes of the body, nothing else.")
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show an event: headers, body, and every delivery with its attempts and messages.

    Example: clarihook events show evt_01980d06a800

    Example: clarihook events show evt_01980d06a800 --raw | sha256sum
    """
    settings = load_settings(home, needs_secrets=False)
    event, acknowledged, stories = asyncio.run(_show(settings, event_id))
    scheme = _scheme_of(settings, event)
    if raw:
        sys.stdout.buffer.write(event.body)
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(
            {
                **event_record(event),
                "scheme": scheme,
                "acknowledged": acknowledged and acknowledgement_record(acknowledged),
                "deliveries": [story_record(story) for story in stories],
            }
        )
    else:
        _print_event(event, scheme, acknowledged)
        print_line()
        print_stories("deliveries" if stories else "no deliveries: no handler matched", stories)


async def _list(settings: Settings, which: EventFilter, limit: int) -> list[dict[str, Any]]:
    """The rows. Bodies are let go of page by page: they may be large."""
    rows: list[dict[str, Any]] = []
    async with opened(settings, "reader") as store:
        while len(rows) < limit:
            events = await store.events(which, limit=min(_PAGE, limit - len(rows)))
            if not events:
                break
            states = await store.states_of_events([event.id for event in events])
            rows += [{**event_summary(e), "deliveries": states[e.id]} for e in events]
            which = replace(which, before=events[-1].id)
    return rows


async def _show(settings: Settings, text: str) -> tuple[Event, Acknowledgement | None, list[Story]]:
    async with opened(settings, "reader") as store:
        event = await find_event(store, text)
        stories = await tell(store, await store.deliveries_of(event.id))
        return event, await store.acknowledgement(event.id), stories


def _who(acknowledged: Acknowledgement) -> str:
    comment = f": {acknowledged.comment}" if acknowledged.comment else ""
    return f"{shown(acknowledged.at)} by {acknowledged.author} ({acknowledged.how}){comment}"


def _scheme_of(settings: Settings, event: Event) -> str | None:
    """The signature scheme of its source, as the settings have it now; None if they have none."""
    source = settings.sources.get(event.source)
    return None if source is None else source.scheme


def _print_event(event: Event, scheme: str | None, acknowledged: Acknowledgement | None) -> None:
    print_line(event.id, "bold")
    proof = "nobody: it came unsigned"
    if event.secret_index is not None:
        by = "its source is not in the settings" if scheme is None else f"scheme {scheme}"
        proof = f"secret {event.secret_index}, {by}"
    if is_internal(event.source, event.type):
        proof = "nobody: clarihook itself raised it"
    facts = {
        "type": event.type,
        "source": event.source,
        "received": shown(event.received_at),
        "verified by": proof,
        "message id": event.message_id,
        "duplicates": event.duplicates,
        "acknowledged": acknowledged and _who(acknowledged),
    }
    for name, value in facts.items():
        if value is not None:
            print_line(f"  {name:12} {value}")
    print_line()
    print_line("headers", "bold")
    for name, value in event.headers:
        print_line(f"  {name}: {value}")
    print_line()
    print_line(f"body, {len(event.body)} bytes", "bold")
    print_body(event.body)
