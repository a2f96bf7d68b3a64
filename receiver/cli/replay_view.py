"""How a replay looks while it runs and when it has ended."""

from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from receiver.cli.output import console, print_line, print_table
from receiver.cli.times import shown
from receiver.cli.tree import states_line
from receiver.model import Delivery, Message, State, format_delivery_id, from_ms
from receiver.replay import Progress, Status
from receiver.store.base import DeliveryFilter
from receiver.store.sqlite import SqliteStore


class View:
    """Called with each progress: a bar on a terminal, else a line for each tenth."""

    def __init__(self) -> None:
        self._screen = console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[states]}"),
            TimeRemainingColumn(),
            console=self._screen,
            disable=not self._screen.is_terminal,
        )
        self._task = self._bar.add_task("replay", total=1.0, states="")
        self._most = 0.0
        self._told = -1

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it. Messages that are staged on the way never make the bar go back."""
        self._most = max(self._most, progress.done)
        states = _states(progress)
        if not self._bar.disable:
            name = f"replay {progress.replay.id}"
            self._bar.update(self._task, description=name, completed=self._most, states=states)
        elif (tenths := int(self._most * 10)) > self._told:
            self._told = tenths
            line = f"replay {progress.replay.id}: {self._most:.0%}  {states}".rstrip()
            self._screen.print(line, soft_wrap=True)


def print_end(progress: Progress) -> None:
    """How it ended, in a line or two."""
    replay = progress.replay
    states = _states(progress) or "no deliveries"
    style = "red" if replay.states.get(State.DEAD) else "green"
    print_line(f"replay {replay.id} {progress.status}: {_events(replay.events)}, {states}", style)
    if progress.is_added and progress.selected > replay.events:
        others = _events(progress.selected - replay.events)
        print_line(f"no handler or route is for {others} of the selection")
    if replay.states.get(State.DEAD):
        print_line(f"see why: clarihook replay show {replay.id}")
    if progress.status is Status.PAUSED:
        print_line(f"go on: clarihook replay resume {replay.id}")


def print_replays(found: Sequence[Progress]) -> None:
    """A line for each."""
    columns = ("id", "created", "author", "status", "done", "events", "deliveries", "selection")
    print_table(
        columns,
        [
            (
                progress.replay.id,
                shown(from_ms(progress.replay.created_ms)),
                progress.replay.author,
                progress.status,
                f"{progress.done:.0%}",
                progress.replay.events,
                _states(progress),
                progress.replay.selection,
            )
            for progress in found
        ],
    )


def _states(progress: Progress) -> str:
    """How many deliveries are in each state; of a quiet replay, which were messages."""
    states = states_line(progress.replay.states)
    is_only_messages = progress.replay.is_quiet and progress.status is not Status.CANCELLED
    return states.replace("cancelled", "not sent") if is_only_messages else states


_SHOWN_MESSAGES = 20


async def quiet_messages(store: SqliteStore, progress: Progress) -> list[tuple[str, Message]]:
    """The latest messages that a quiet replay's handlers said, with their events' ids."""
    if not progress.replay.is_quiet:
        return []
    which = DeliveryFilter(replay_id=progress.replay.id, names=["*/*"])
    found: dict[int, tuple[str, Message]] = {}
    for delivery in await store.deliveries(which, limit=_SHOWN_MESSAGES * 5):
        assert delivery.message_id is not None, "a target's delivery has a message"
        if delivery.message_id not in found and len(found) < _SHOWN_MESSAGES:
            message = await store.message(delivery.message_id)
            assert message is not None, "messages go with their deliveries"
            found[delivery.message_id] = (delivery.event_id, message)
    return list(found.values())[::-1]


def print_quiet_messages(said: Sequence[tuple[str, Message]]) -> None:
    """What would have been sent."""
    if not said:
        return
    print_line()
    print_line("said, not sent (the latest of it)", "bold")
    for event_id, message in said:
        print_line(f"  {event_id}  to {message.channel}, {message.severity}: {message.title}")
        for line in message.body.splitlines() if message.body != message.title else ():
            print_line(f"    {line}")


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number} events"


def print_dead(found: Sequence[Delivery]) -> None:
    """The dead ones with their reasons, and what to do about them."""
    if not found:
        return
    print_line()
    print_table(
        ("dead", "event", "name", "reason"),
        [(format_delivery_id(d.id), d.event_id, d.name, (d.reason or "")[:120]) for d in found],
    )
    replay = found[0].replay_id
    print_line(f"try them again: clarihook deliveries retry --state dead --replay {replay}")
