"""`clarihook acknowledge`: somebody takes care of an event, so it escalates no further."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from receiver.cli.authors import os_user
from receiver.cli.deployment import find_delivery, find_event, opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.records import acknowledgement_record
from receiver.errors import UsageError
from receiver.model import Acknowledgement, EventId
from receiver.settings import Settings, load_settings
from receiver.store.base import DeliveryFilter
from receiver.store.sqlite import SqliteStore

_PAGE = 500


def acknowledge(
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID", help="Of events, or of deliveries: their events are meant."),
    ],
    *,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who takes care; you, by default.")
    ] = None,
    comment: Annotated[str | None, typer.Option(help="What is being done.")] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Say that somebody takes care of an event: what would go on to the next channel is cancelled.

    The id of a digest's delivery stands for every event in it. Who is first counts; it works
    beside a server and without one.

    Example: clarihook acknowledge evt_01980d06a800 --comment "restarting the sync"
    """
    author = os_user() if by is None else by.strip()
    if not author:
        raise UsageError("--by is empty; say who takes care")
    done = asyncio.run(_acknowledge(load_settings(home, needs_secrets=False), ids, author, comment))
    if as_json:
        print_json({"acknowledged": done})
        return
    for each in done:
        cancelled = each["cancelled"]
        what = f"{cancelled} escalation{'' if cancelled == 1 else 's'} cancelled"
        if each["is_new"]:
            print_line(f"{each['event_id']}: acknowledged, {what}", "green")
        else:
            print_line(
                f"{each['event_id']}: {each['author']} had acknowledged it at {each['at']}; {what}"
            )


async def _acknowledge(
    settings: Settings, ids: Sequence[str], author: str, comment: str | None
) -> list[dict[str, Any]]:
    async with opened(settings, "reader") as store:
        found = [each for text in ids for each in await _events(store, text)]
    done: list[dict[str, Any]] = []
    async with opened(settings, "guest") as store:
        for event_id in dict.fromkeys(found):
            new = Acknowledgement(
                event_id=event_id,
                at=datetime.now(UTC),
                author=author,
                how="command",
                comment=comment,
            )
            kept = await store.acknowledge(new)
            if kept is None:
                raise UsageError(f"{event_id} is not there any more: it was older than store.keep")
            done.append(
                {
                    **acknowledgement_record(kept.first),
                    "is_new": kept.is_new,
                    "cancelled": len(kept.cancelled),
                }
            )
    return done


async def _events(store: SqliteStore, text: str) -> list[EventId]:
    """The event that is meant; of a digest's delivery, all that are in it."""
    if not text.strip().lower().startswith("dlv_"):
        return [(await find_event(store, text)).id]
    delivery = await find_delivery(store, text)
    events, which = [delivery.event_id], DeliveryFilter(merged_into=delivery.id)
    while members := await store.deliveries(which, limit=_PAGE):
        events += [member.event_id for member in members]
        which = DeliveryFilter(merged_into=delivery.id, before=members[-1].id)
    return events
