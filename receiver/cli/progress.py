"""A progress bar on a terminal; nothing elsewhere, where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from receiver.cli.output import console

OnProgress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


@contextmanager
def progress_bar(doing: str, *, quiet: bool = False) -> Iterator[OnProgress]:
    """A bar on standard error, for as long as the block takes."""
    screen = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        disable=quiet or not screen.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(doing)
        yield lambda done, total: bar.update(task, completed=done, total=total)
