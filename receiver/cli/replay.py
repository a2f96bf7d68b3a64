"""`clarihook replay`: run stored events through the handlers again, and look after replays."""

import asyncio
import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_warning
from receiver.cli.records import delivery_record, message_record, replay_record
from receiver.cli.replay_run import ConcurrencyOption, RateOption, check_rate, registry_of, run
from receiver.errors import UsageError
from receiver.model import State
from receiver.replay import Progress, Status, cancel, find, pause, watch
from receiver.settings import Settings, load_settings
from receiver.store.base import DeliveryFilter


class ReplayGroup(TyperGroup):
    """`replay EVENT_ID…` and `replay --type …` are short for `replay run …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is neither a command nor a plea for help is what `run` takes."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ReplayGroup,
    help="Run stored events through the handlers again; `run` may be left out.\n\n"
    "How to choose events, and what to do with them: clarihook replay run --help\n\n"
    "Example: clarihook replay --since yesterday --state dead",
)
app.command()(run)

NumberArgument = Annotated[int, typer.Argument(metavar="ID", help="The replay's number.")]


@app.command()
def resume(
    replay_id: NumberArgument,
    *,
    rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Go on with a replay that was paused or cut off; each event is added exactly once.

    It keeps the pace that it had, unless another one is given.

    Example: clarihook replay resume 3
    """
    from receiver.cli.hosting import Pace, host_replay  # noqa: PLC0415 - slow

    check_rate(rate)
    settings = load_settings(home)
    pace = Pace(events_per_second=rate, concurrency=concurrency)
    host_replay(settings, registry_of(settings, None), pace, as_json=as_json, replay_id=replay_id)


@app.command("watch")
def watch_(replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Look on until a replay has ended, or was paused or cancelled. Ctrl-C leaves it running.

    The exit status is 1 if some deliveries are dead in the end, or it was cancelled.

    Example: clarihook replay watch 3
    """
    progress = asyncio.run(_watch(load_settings(home, needs_secrets=False), replay_id))
    _end(progress, as_json=as_json)
    if progress.replay.states.get(State.DEAD) or progress.status is Status.CANCELLED:
        raise typer.Exit(1)


@app.command("pause")
def pause_(replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Add no further events to a replay; what was added before (up to 2,000) still ends.

    Example: clarihook replay pause 3
    """
    settings = load_settings(home, needs_secrets=False)
    _end(asyncio.run(_move(settings, replay_id, to=Status.PAUSED)), as_json=as_json)


@app.command("cancel")
def cancel_(
    replay_id: NumberArgument, home: HomeOption = HERE, as_json: JsonOption = False
) -> None:
    """End a replay: what has not run is cancelled, what runs may end.

    Example: clarihook replay cancel 3
    """
    settings = load_settings(home, needs_secrets=False)
    _end(asyncio.run(_move(settings, replay_id, to=Status.CANCELLED)), as_json=as_json)


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
    """Show how far a replay is, what is dead of it, and what was said but not sent.

    Example: clarihook replay show 3
    """
    asyncio.run(_show(load_settings(home, needs_secrets=False), replay_id, as_json=as_json))


def _end(progress: Progress, *, as_json: bool) -> None:
    from receiver.cli.replay_view import print_end  # noqa: PLC0415

    if as_json:
        print_json(replay_record(progress))
    else:
        print_end(progress)


async def _watch(settings: Settings, replay_id: int) -> Progress:
    from receiver.cli.replay_view import View  # noqa: PLC0415

    told: list[int] = []

    def on_still(progress: Progress) -> None:
        if not told:
            told.append(progress.replay.id)
            print_warning(
                f"nothing moves: is `clarihook serve` running? To go on here: "
                f"clarihook replay resume {replay_id}"
            )

    async with opened(settings, "reader") as store:
        await find(store, replay_id)
        with View() as view:
            return await watch(store, replay_id, view, on_still)


async def _move(settings: Settings, replay_id: int, *, to: Status) -> Progress:
    async with opened(settings, "guest") as store:
        before = await find(store, replay_id)
        if before.status is Status.ENDED or (before.is_added and to is Status.PAUSED):
            what = "has ended" if before.status is Status.ENDED else "is added already, all of it"
            verb = "pause" if to is Status.PAUSED else "cancel"
            raise UsageError(f"replay {replay_id} {what}; there is nothing left to {verb} of it")
        if to is Status.PAUSED:
            return await pause(store, replay_id)
        return await cancel(store, replay_id, now_ms=int(time.time() * 1000))


async def _list(settings: Settings, limit: int) -> list[Progress]:
    async with opened(settings, "reader") as store:
        return [Progress(replay) for replay in await store.replays(limit=limit)]


async def _show(settings: Settings, replay_id: int, *, as_json: bool) -> None:
    from receiver.cli.replay_view import (  # noqa: PLC0415
        print_dead,
        print_quiet_messages,
        print_replays,
        quiet_messages,
    )

    dead = DeliveryFilter(replay_id=replay_id, states=[State.DEAD])
    async with opened(settings, "reader") as store:
        progress = await find(store, replay_id)
        found = await store.deliveries(dead, limit=20)
        said = await quiet_messages(store, progress)
    if as_json:
        document = replay_record(progress)
        document["dead"] = [delivery_record(delivery) for delivery in found]
        if progress.replay.is_quiet:
            document["not_sent"] = [
                {"event_id": event_id, **message_record(message)} for event_id, message in said
            ]
        print_json(document)
    else:
        print_replays([progress])
        print_dead(found)
        print_quiet_messages(said)
