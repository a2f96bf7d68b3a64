"""`clarihook events tail`: events as they come, and what becomes of them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Annotated

import typer
from rich.text import Text

from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption
from receiver.cli.output import console, print_body, print_warning
from receiver.cli.records import event_record
from receiver.cli.selecting import (
    SourceOption,
    TypeOption,
    WhereOption,
    checked_condition,
    event_filter,
    warn_of_mistyped,
)
from receiver.cli.times import SinceOption, iso
from receiver.cli.tree import states_text
from receiver.cli.watching import watch
from receiver.model import Event, State
from receiver.printable import printable
from receiver.replay import Where
from receiver.settings import load_settings
from receiver.store.sqlite import SqliteStore

_FOLLOWED = 1000
"""So many events are followed until their deliveries have ended: the latest."""
_MOVING = (State.PENDING, State.RUNNING)

States = Mapping[State, int]


def tail(
    *,
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    where: WhereOption = None,
    state: Annotated[
        list[State] | None,
        typer.Option(help="Once a delivery of it is in this state: dead shows what died."),
    ] = None,
    body: Annotated[bool, typer.Option("--body", help="Show the bodies too.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    home: HomeOption = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Show events as they come, and how their deliveries end, until Ctrl-C.

    With --since, first those that came since: what you missed while you were away. One line for
    each event, one more when its deliveries have moved on.

    Example: clarihook events tail --type 'report.*' --since 1h --body

    Example: clarihook events tail --state dead --where 'event.data.remaining < 10'

    Example: clarihook events tail --json --count 100 > sample.jsonl
    """
    which = event_filter(type_, source, since or "now", None)
    fits = Where(None if where is None else checked_condition(where))
    settings = load_settings(home, needs_secrets=False)
    warn_of_mistyped(settings, which)

    async def show() -> None:
        left = count
        async with opened(settings, "reader") as store, aclosing(watch(store, which)) as rounds:
            followed, awaited = _Followed(store), _Awaited(store, state or ())
            async for events in rounds:
                if not as_json:
                    await followed.tell()
                shown = await awaited.ready([event for event in events if fits(event)])
                states = await store.states_of_events([event.id for event in shown])
                for event in shown:
                    _print(event, states[event.id], with_body=body, as_json=as_json)
                    followed.add(event, states[event.id])
                    if left is not None and (left := left - 1) == 0:
                        return

    with suppress(KeyboardInterrupt):
        asyncio.run(show())
    if fits.undecided:
        print_warning(
            f"--where could not be decided for {fits.undecided} events, which are left out: "
            f"{fits.why_undecided}"
        )


class _Awaited:
    """Events that are shown once a delivery of them is in one of the states."""

    def __init__(self, store: SqliteStore, states: Sequence[State]) -> None:
        self._store = store
        self._wanted = frozenset(states)
        self._events: dict[str, Event] = {}

    async def ready(self, events: list[Event]) -> list[Event]:
        """Those of these, and of the ones before, whose time has come; all if no state is wanted.

        The oldest are forgotten when more than 1000 wait.
        """
        if not self._wanted:
            return events
        self._events |= {event.id: event for event in events}
        found = await self._store.states_of_events(list(self._events))
        come = [event for key, event in self._events.items() if self._wanted & found[key].keys()]
        over = [key for key, states in found.items() if all(state.is_final for state in states)]
        for key in {*(event.id for event in come), *(key for key in over if found[key])}:
            self._events.pop(key)
        while len(self._events) > _FOLLOWED:
            del self._events[next(iter(self._events))]
        return come


class _Followed:
    """The events whose deliveries have not all ended, and what was last said of each."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._told: dict[str, States] = {}

    def add(self, event: Event, states: States) -> None:
        """Follow it, if anything of it can still move."""
        if any(not state.is_final for state in states):
            self._told[event.id] = states
            if len(self._told) > _FOLLOWED:
                del self._told[next(iter(self._told))]

    async def tell(self) -> None:
        """Print a line for each whose deliveries have come to a rest since."""
        if not self._told:
            return
        found = await self._store.states_of_events(list(self._told))
        for event_id, states in found.items():
            if states == self._told[event_id] or any(states.get(state) for state in _MOVING):
                continue
            self._told[event_id] = states
            _print_line(" " * len("2026-11-23T15:46:15.508Z"), event_id, states_text(states))
            if all(state.is_final for state in states):
                del self._told[event_id]


def _print(event: Event, states: States, *, with_body: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**event_record(event), "deliveries": states}), flush=True)
        return
    _print_line(
        iso(event.received_at),
        event.id,
        Text(printable(event.source), style="dim"),
        Text(printable(event.type), style="bold"),
        f"{len(event.body)} bytes",
        *([states_text(states)] if states else []),
    )
    if with_body:
        print_body(event.body)


def _print_line(*parts: str | Text) -> None:
    texts = [part if isinstance(part, Text) else Text(part) for part in parts]
    console().print(Text("  ").join(texts), soft_wrap=True)
