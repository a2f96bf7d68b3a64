"""`clarihook replay`: run stored events through the handlers again, and look after replays."""

import asyncio
import getpass
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from receiver.cli.deployment import find_event, find_handler, opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.records import delivery_record, replay_record
from receiver.cli.times import SinceOption, UntilOption, span_ms
from receiver.errors import UsageError
from receiver.model import State
from receiver.replay import Progress, Selection, Status, cancel, find, pause, reopen
from receiver.settings import Settings, load_settings
from receiver.store.base import DeliveryFilter

if TYPE_CHECKING:
    from receiver.registry import Registry


class ReplayGroup(TyperGroup):
    """`replay EVENT_ID…` and `replay --type …` are short for `replay run …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is neither a command nor a plea for help is what `run` takes."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ReplayGroup, help="Run stored events through the handlers again; `run` may be left out."
)

NumberArgument = Annotated[int, typer.Argument(metavar="ID", help="The replay's number.")]


@app.command()
def run(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[EVENT_ID]...", help="Just these events.")
    ] = None,
    *,
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="PATTERN", help="Events of this type.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Events from this source.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: Annotated[
        list[State] | None,
        typer.Option(help="Only for handlers whose latest delivery of the event is so: dead."),
    ] = None,
    handler: Annotated[
        str | None, typer.Option(help="Only for this handler; else for all that match today.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many events.")] = None,
    newest: Annotated[
        bool, typer.Option("--newest-first", help="Not in the order in which they came.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(help="So many events per second; else as fast as it goes.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Run nothing: send the exact bytes there, signed anew."),
    ] = None,
    as_received: Annotated[
        bool, typer.Option("--as-received", help="With --to: the headers as they came.")
    ] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="With --to: into a private network.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would repeat; do nothing.")
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Repeat stored events: new deliveries for today's handlers, behind live ones; history stays.

    Beside a running server, that runs them; else this command does, until they have ended.
    Ctrl-C pauses it. The exit status is 1 if some deliveries are dead in the end.

    Example: clarihook replay run --type 'data_source.*' --since yesterday --state dead
    """
    since_ms, until_ms = span_ms(since, until)
    if not (ids or type_ or source or since or until or state):
        raise UsageError("say which: ids, --type, --source, --since, --until, --state; --type '*'")
    if rate is not None and rate <= 0:
        raise UsageError(f"--rate {rate:g} would never end; give a number above 0")
    settings = load_settings(home)
    registry = _registry(settings, handler)
    selection = Selection(
        ids=asyncio.run(_full_ids(settings, ids)) if ids else (),
        types=tuple(type_ or ()),
        sources=tuple(source or ()),
        since_ms=since_ms,
        until_ms=until_ms,
        states=tuple(state or ()),
        handler=handler,
        limit=limit,
        newest=newest,
    )
    if dry_run:
        from receiver.cli.preview import preview  # noqa: PLC0415

        preview(settings, registry, selection, as_json=as_json)
    elif to is not None:
        from receiver.cli.resend import Resend, check_url, resend  # noqa: PLC0415

        check_url(to, allow_private=allow_private)
        how = Resend(url=to, as_received=as_received, events_per_second=rate)
        if not resend(settings, selection, how, as_json=as_json):
            raise typer.Exit(1)
    else:
        _host_replay(settings, registry, rate, as_json=as_json, selection=selection)


@app.command()
def resume(
    replay_id: NumberArgument,
    *,
    rate: Annotated[
        float | None, typer.Option(help="So many events per second; else as fast as it goes.")
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Go on with a replay that was paused or cut off; each event is added exactly once.

    Example: clarihook replay resume 3
    """
    settings = load_settings(home)
    registry = _registry(settings, None)
    _host_replay(settings, registry, rate, as_json=as_json, replay_id=replay_id)


@app.command("pause")
def pause_(replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Add no further events to a replay; what was added before (up to 2,000) still ends.

    Example: clarihook replay pause 3
    """
    asyncio.run(
        _move(
            load_settings(home, needs_secrets=False), replay_id, as_json=as_json, to=Status.PAUSED
        )
    )


@app.command("cancel")
def cancel_(
    replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False
) -> None:
    """End a replay: what has not run is cancelled, what runs may end.

    Example: clarihook replay cancel 3
    """
    asyncio.run(
        _move(
            load_settings(home, needs_secrets=False),
            replay_id,
            as_json=as_json,
            to=Status.CANCELLED,
        )
    )


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List replays, the newest first.

    Example: clarihook replay list
    """
    from receiver.cli.replay_view import print_replays  # noqa: PLC0415

    found = asyncio.run(_list(load_settings(home, needs_secrets=False), limit))
    if as_json:
        print_json({"replays": [replay_record(progress) for progress in found]})
    else:
        print_replays(found)


@app.command()
def show(replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show how far a replay is, and what is dead of it.

    Example: clarihook replay show 3
    """
    asyncio.run(_show(load_settings(home, needs_secrets=False), replay_id, as_json=as_json))


def _registry(settings: Settings, handler: str | None) -> "Registry":
    """Today's handlers. Raises UsageError if `handler` is none of them."""
    from receiver.engine import load_registry  # noqa: PLC0415 - slow; `list` needs none
    from receiver.notify import routes  # noqa: PLC0415

    registry = load_registry(settings)
    if handler is not None and handler != routes.NAME:
        find_handler(registry, handler)
    return registry


async def _full_ids(settings: Settings, texts: list[str]) -> tuple[str, ...]:
    async with opened(settings, "reader") as store:
        return tuple([(await find_event(store, text)).id for text in dict.fromkeys(texts)])


def _host_replay(
    settings: Settings,
    registry: "Registry",
    rate: float | None,
    *,
    as_json: bool,
    selection: Selection | None = None,
    replay_id: int | None = None,
) -> None:
    """Begin a replay (or reopen one), run it, and end the command as it ended."""
    from receiver.cli.hosting import follow, hosted, run_loop  # noqa: PLC0415 - slow
    from receiver.cli.replay_view import View, print_end  # noqa: PLC0415

    async def main() -> Progress:
        nonlocal replay_id
        async with hosted(settings, registry) as host:
            if selection is None:
                assert replay_id is not None, "one of the two is given"
                begun = await reopen(host.store, replay_id)
            else:
                now_ms = int(time.time() * 1000)
                replayer = host.replayer(rate)
                begun = await replayer.begin(selection, author=_author(), now_ms=now_ms)
                replay_id = begun.replay.id
            with View() as view:
                return await follow(host, begun.replay.id, view, events_per_second=rate)

    try:
        progress = run_loop(main())
    except KeyboardInterrupt:
        if replay_id is not None:
            print_line(
                f"paused; nothing is lost. Go on: clarihook replay resume {replay_id}. "
                "What was added already runs whenever `clarihook serve` does."
            )
        raise
    if as_json:
        print_json(replay_record(progress))
    else:
        print_end(progress)
    if progress.replay.states.get(State.DEAD) or progress.status is Status.CANCELLED:
        raise typer.Exit(1)


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


async def _move(settings: Settings, replay_id: int, *, as_json: bool, to: Status) -> None:
    from receiver.cli.replay_view import print_end  # noqa: PLC0415

    async with opened(settings, "guest") as store:
        before = await find(store, replay_id)
        if before.status is Status.ENDED or (before.is_added and to is Status.PAUSED):
            what = "has ended" if before.status is Status.ENDED else "is added already, all of it"
            raise UsageError(f"replay {replay_id} {what}; there is nothing left to {to} of it")
        if to is Status.PAUSED:
            progress = await pause(store, replay_id)
        else:
            progress = await cancel(store, replay_id, now_ms=int(time.time() * 1000))
    if as_json:
        print_json(replay_record(progress))
    else:
        print_end(progress)


async def _list(settings: Settings, limit: int) -> list[Progress]:
    async with opened(settings, "reader") as store:
        return [Progress(replay) for replay in await store.replays(limit=limit)]


async def _show(settings: Settings, replay_id: int, *, as_json: bool) -> None:
    from receiver.cli.replay_view import print_dead, print_replays  # noqa: PLC0415

    dead = DeliveryFilter(replay_id=replay_id, states=[State.DEAD])
    async with opened(settings, "reader") as store:
        progress = await find(store, replay_id)
        found = await store.deliveries(dead, limit=20)
    if as_json:
        document = replay_record(progress)
        print_json({**document, "dead": [delivery_record(delivery) for delivery in found]})
    else:
        print_replays([progress])
        print_dead(found)
