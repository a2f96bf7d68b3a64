"""`clarihook deliveries`: each unit of work, why it is where it is, and moving it by hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from receiver.cli.asking import YesOption, confirm
from receiver.cli.deployment import find_delivery, find_event, opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table, print_warning
from receiver.cli.records import delivery_record, reason_of
from receiver.cli.times import SinceOption, UntilOption, shown, span_ms
from receiver.cli.tree import print_stories, story_record
from receiver.errors import HandlerLoadError, UsageError
from receiver.model import Delivery, DeliveryId, State, format_delivery_id
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint, nearest
from receiver.store.base import DeliveryFilter
from receiver.store.ids import first_number_at
from receiver.store.sqlite import SqliteStore
from receiver.stories import Story, tell, with_reasons

app = typer.Typer(help="Look at deliveries; retry or discard them.")

StateOption = Annotated[
    list[State] | None, typer.Option("--state", help="In this state; may be given several times.")
]
NameOption = Annotated[
    list[str] | None,
    typer.Option(
        "--name", "--handler", metavar="PATTERN", help="Of this handler or target, such as ops/*"
    ),
]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Their ids.")]
ReplayOption = Annotated[
    int | None, typer.Option("--replay", metavar="ID", help="Of this replay only.")
]

_PAGE = 500


@app.command("list")
def list_(
    *,
    state: StateOption = None,
    name: NameOption = None,
    event: Annotated[
        str | None, typer.Option(metavar="ID", help="Of this event; the beginning of its id does.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    replay: ReplayOption = None,
    digest: Annotated[
        str | None, typer.Option(metavar="ID", help="Sent in this digest: its delivery's id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, the newest first.

    Example: clarihook deliveries list --state dead --since yesterday

    Example: clarihook deliveries list --name 'ops/*' --json

    Example: clarihook deliveries list --digest dlv_cac7ee4f0801000
    """
    which = _filter(state, name, since, until, replay)
    settings = load_settings(home, needs_secrets=False)
    found = asyncio.run(_list(settings, which, event, digest, limit))
    if not found:
        _warn_of_mistyped(settings, which.names)
    if as_json:
        print_json({"deliveries": [delivery_record(delivery) for delivery in found]})
        return
    columns = ("id", "created", "event", "type", "name", "state", "attempts", "due", "reason")
    print_table(columns, [_row(delivery) for delivery in found])


@app.command()
def show(
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="Such as dlv_cac7ee4f0801000.")],
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show a delivery: its attempts, their errors, and the message that it carries.

    Example: clarihook deliveries show dlv_cac7ee4f0801000
    """
    story = asyncio.run(_show(load_settings(home, needs_secrets=False), delivery_id))
    if as_json:
        print_json(story_record(story))
    else:
        delivery = story.delivery
        print_stories(f"{delivery.event_id}  {delivery.event_type}", [story])


@app.command()
def retry(
    ids: IdsArgument = None,
    *,
    state: StateOption = None,
    name: NameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    replay: ReplayOption = None,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Run dead deliveries again with all their attempts, and waiting and held ones at once.

    A server that is up notices within a fraction of a second; else `clarihook serve` runs them.
    The exit status is 1 if one that was named can't be retried.

    Example: clarihook deliveries retry dlv_cac7ee4f0801000

    Example: clarihook deliveries retry --state dead --name 'ops/*' --yes
    """
    which = _filter(state, name, since, until, replay)
    change = Change(
        verb="retry",
        done="retried",
        movable=(State.DEAD, State.RETRYING, State.PENDING, State.HELD),
        act=lambda store, chunk, now_ms: store.retry(chunk, now_ms=now_ms),
    )
    change.run(load_settings(home, needs_secrets=False), ids, which, yes=yes, as_json=as_json)


@app.command()
def discard(
    ids: IdsArgument = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with them.")] = "discarded by hand",
    state: StateOption = None,
    name: NameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    replay: ReplayOption = None,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Cancel deliveries that are dead, wait or are held: they will not run.

    The exit status is 1 if one that was named can't be discarded.

    Example: clarihook deliveries discard dlv_cac7ee4f0801000 --reason "sent by hand"
    """
    which = _filter(state, name, since, until, replay)
    change = Change(
        verb="discard",
        done="discarded",
        movable=(State.DEAD, State.RETRYING, State.PENDING, State.HELD),
        act=lambda store, chunk, now_ms: store.discard(chunk, reason=reason, now_ms=now_ms),
    )
    change.run(load_settings(home, needs_secrets=False), ids, which, yes=yes, as_json=as_json)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A move by hand of some deliveries: find them, ask, do it, say what was done."""

    verb: str
    done: str
    movable: tuple[State, ...]
    """From these states."""
    act: Callable[[SqliteStore, Sequence[DeliveryId], int], Awaitable[list[DeliveryId]]]

    def run(
        self,
        settings: Settings,
        ids: Sequence[str] | None,
        which: DeliveryFilter,
        *,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Do it. Raises UsageError before anything is changed."""
        self._check(ids, which)
        chosen = asyncio.run(self._choose(settings, ids, which))
        if len(chosen) > 1 and not yes:
            confirm(f"{self.verb} {len(chosen)} deliveries")
        changed = set(asyncio.run(self._apply(settings, chosen)))
        left = [each for each in chosen if each not in changed]
        if as_json:
            lists = {self.done: sorted(changed), "unchanged": left}
            print_json({key: [*map(format_delivery_id, found)] for key, found in lists.items()})
        else:
            print_line(f"{self.done} {_count(len(changed))}")
            for each in left if ids else ():
                print_line(f"unchanged: {format_delivery_id(each)} is not {_any_of(self.movable)}")
        if left and ids:
            raise typer.Exit(1)

    def _check(self, ids: Sequence[str] | None, which: DeliveryFilter) -> None:
        if bool(ids) == bool(which.states):
            raise UsageError(f"say which: ids, or --state {self.movable[0]}, but not both")
        for state in which.states:
            if state not in self.movable:
                raise UsageError(
                    f"what is {state} can't be {self.done}, only what is "
                    f"{_any_of(self.movable)}; to run it once more, see `clarihook replay`"
                )

    async def _choose(
        self, settings: Settings, ids: Sequence[str] | None, which: DeliveryFilter
    ) -> list[DeliveryId]:
        async with opened(settings, "reader") as store:
            if ids:
                return [(await find_delivery(store, text)).id for text in dict.fromkeys(ids)]
            return [delivery.id async for delivery in _all(store, which)]

    async def _apply(self, settings: Settings, chosen: Sequence[DeliveryId]) -> list[DeliveryId]:
        changed: list[DeliveryId] = []
        async with opened(settings, "guest") as store:
            for start in range(0, len(chosen), _PAGE):
                now_ms = int(time.time() * 1000)
                changed += await self.act(store, chosen[start : start + _PAGE], now_ms)
        return changed


async def _list(
    settings: Settings, which: DeliveryFilter, event: str | None, digest: str | None, limit: int
) -> list[Delivery]:
    async with opened(settings, "reader") as store:
        if digest is not None:
            which = replace(which, merged_into=(await find_delivery(store, digest)).id)
        if event is not None:
            made = await store.deliveries_of((await find_event(store, event)).id)
            which = replace(which, ids=[each.id for each in made])
            if not which.ids:
                return []
        return await with_reasons(store, await store.deliveries(which, limit=limit))


async def _show(settings: Settings, text: str) -> Story:
    async with opened(settings, "reader") as store:
        (story,) = await tell(store, [await find_delivery(store, text)])
        return story


async def _all(store: SqliteStore, which: DeliveryFilter) -> AsyncIterator[Delivery]:
    """All of them, page by page, the newest first."""
    while found := await store.deliveries(which, limit=_PAGE):
        for delivery in found:
            yield delivery
        which = replace(which, before=found[-1].id)


def _filter(
    states: Sequence[State] | None,
    names: Sequence[str] | None,
    since: str | None,
    until: str | None,
    replay: int | None,
) -> DeliveryFilter:
    """The filter; a delivery's id tells when it was made."""
    since_ms, until_ms = span_ms(since, until)
    return DeliveryFilter(
        states=states or (),
        names=names or (),
        replay_id=replay,
        after=None if since_ms is None else first_number_at(since_ms) - 1,
        before=None if until_ms is None else first_number_at(until_ms),
    )


def _warn_of_mistyped(settings: Settings, names: Sequence[str]) -> None:
    """Nothing was found: say so if a name is nearly a handler's or a channel's."""
    from receiver.registry import load_handlers  # noqa: PLC0415 - slow, and seldom needed

    if not names:
        return
    try:
        paths = [settings.path(path) for path in settings.handlers.paths]
        found = load_handlers(paths, plugins=settings.handlers.plugins, on_error="skip").handlers
    except HandlerLoadError:
        found = ()
    known = {handler.name for handler in found}
    for name in names:
        channel, slash, _ = name.partition("/")
        known_channels = {*settings.channels, "forward"}
        if slash and "*" not in channel and channel not in known_channels:
            hint = name_hint(channel, settings.channels)
            print_warning(f"there is no channel {channel!r} in the settings; {hint}")
        near = None if slash or "*" in name or name in known else nearest(name, known)
        if near is not None:
            print_warning(f"there is no handler {name!r}; did you mean {near!r}?")


def _row(delivery: Delivery) -> tuple[object, ...]:
    waits = not delivery.state.is_final and delivery.state is not State.RUNNING
    return (
        format_delivery_id(delivery.id),
        shown(delivery.created_at),
        delivery.event_id,
        delivery.event_type,
        delivery.name,
        delivery.state,
        f"{delivery.attempts}/{delivery.max_attempts}",
        shown(delivery.due_at) if waits else None,
        (reason_of(delivery) or "")[:120],
    )


def _count(number: int) -> str:
    return "1 delivery" if number == 1 else f"{number} deliveries"


def _any_of(states: Sequence[State]) -> str:
    *first, last = states
    return f"{', '.join(first)} or {last}"
