"""What commands share that look at a deployment's store, or change it."""

import difflib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from receiver.errors import UsageError
from receiver.model import Delivery, Event, format_delivery_id, parse_delivery_id
from receiver.settings import Settings
from receiver.settings.problems import name_hint
from receiver.store.base import DeliveryFilter, EventFilter
from receiver.store.configured import open_store
from receiver.store.sqlite import Role, SqliteStore

if TYPE_CHECKING:
    from receiver.registry import Handler, Registry

_NEAR = 500
"""Among so many of the latest, a mistyped id is looked for."""


def store_of(settings: Settings, role: Role, *, must_exist: bool = True) -> SqliteStore:
    """The store, not yet opened. Raises UsageError if nothing was ever stored."""
    store = open_store(settings, role=role)
    if must_exist and not store.path.exists():
        raise UsageError(
            f"{store.path}: no database here yet. Start `clarihook serve` once, or check "
            "--home and store.url."
        )
    return store


@asynccontextmanager
async def opened(settings: Settings, role: Role) -> AsyncIterator[SqliteStore]:
    """The store: as `reader` to look, as `guest` to change deliveries, beside a server or not."""
    store = store_of(settings, role)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def find_event(store: SqliteStore, text: str) -> Event:
    """The event of that id, or of the only id that begins so. Raises UsageError."""
    text = text.strip().lower()
    event = await store.event(text)
    if event is not None:
        return event
    prefix = text if text.startswith("evt_") else f"evt_{text}"
    # No digit of an id is beyond f.
    found = await store.events(EventFilter(after=prefix, before=f"{prefix}g"), limit=2)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"several events have an id that begins with {text}; give more of it")
    latest = await store.events(EventFilter(), limit=_NEAR)
    raise UsageError(f"there is no event {text}; {_hint(prefix, [e.id for e in latest], 'events')}")


async def find_delivery(store: SqliteStore, text: str) -> Delivery:
    """The delivery of that id. Raises UsageError."""
    delivery = None
    try:
        delivery = await store.delivery(parse_delivery_id(text.strip().lower()))
    except (ValueError, OverflowError):
        if not text.startswith("dlv_"):
            raise UsageError(
                f"{text!r} is no delivery id; they look like dlv_cac7ee4f0801000"
            ) from None
    if delivery is not None:
        return delivery
    latest = await store.deliveries(DeliveryFilter(), limit=_NEAR)
    ids = [format_delivery_id(delivery.id) for delivery in latest]
    raise UsageError(f"there is no delivery {text}; {_hint(text, ids, 'deliveries')}")


def find_handler(registry: "Registry", name: str) -> "Handler":
    """The handler of that name. Raises UsageError with the nearest one, or why it isn't there."""
    handler, problem = registry.get(name), registry.problem_of(name)
    if handler is not None:
        return handler
    if problem is not None:
        raise UsageError(problem.text)
    names = [handler.name for handler in registry.handlers]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else "see `clarihook handlers list`"
    raise UsageError(f"there is no handler {name!r}; {hint}")


async def check_known(
    settings: Settings,
    *,
    types: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    channel: str | None = None,
) -> None:
    """Raises UsageError, with the nearest one, for a name that nothing is stored under.

    Patterns with a `*` are left alone: they are meant to fit or not.
    """
    if channel is not None and channel not in settings.channels:
        hint = name_hint(channel, settings.channels)
        raise UsageError(f"--channel: there is no channel {channel!r}; {hint}")
    async with opened(settings, "reader") as store:
        for option, names in (("type", types), ("source", sources)):
            for name in names or ():
                which = (
                    EventFilter(types=[name]) if option == "type" else EventFilter(sources=[name])
                )
                if "*" in name or await store.events(which, limit=1):
                    continue
                latest = await store.events(EventFilter(), limit=_NEAR)
                known = {event.type if option == "type" else event.source for event in latest}
                hint = name_hint(name, known)
                raise UsageError(f"--{option}: nothing is stored of {option} {name!r}; {hint}")


def _hint(text: str, ids: list[str], group: str) -> str:
    # Ids of one time have most digits in common: only nearly all of them are a slip.
    near = difflib.get_close_matches(text, ids, 1, cutoff=0.85)
    return f"did you mean {near[0]}?" if near else f"see `clarihook {group} list`"
