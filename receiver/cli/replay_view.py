"""How a replay looks while it runs and when it has ended."""

from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from receiver.cli.output import console, print_line, print_table
from receiver.cli.times import shown
from receiver.cli.tree import states_line
from receiver.model import Delivery, State, format_delivery_id, from_ms
from receiver.replay import Progress, Status

_STEP = 0.1


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
        self._told = -_STEP

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it. Messages that are staged on the way never make the bar go back."""
        self._most = max(self._most, progress.done)
        states = states_line(progress.replay.states)
        if not self._bar.disable:
            name = f"replay {progress.replay.id}"
            self._bar.update(self._task, description=name, completed=self._most, states=states)
        elif self._most >= self._told + _STEP:
            self._told = self._most - self._most % _STEP
            line = f"replay {progress.replay.id}: {self._most:.0%}  {states}".rstrip()
            self._screen.print(line, soft_wrap=True)


def print_end(progress: Progress) -> None:
    """How it ended, in a line or two."""
    replay = progress.replay
    states = states_line(replay.states) or "no deliveries"
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
                states_line(progress.replay.states),
                progress.replay.selection,
            )
            for progress in found
        ],
    )


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
