"""What commands print: tables, one JSON document, errors. No data reaches the terminal raw."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter, NullHighlighter
from rich.table import Table
from rich.text import Text

from receiver.errors import ConfigError
from receiver.printable import printable

_PIPE_WIDTH = 10_000


def console(*, stderr: bool = False) -> Console:
    """A console on the present standard output; a pipe gets lines of any length, uncut."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_line(text: str = "", style: str = "") -> None:
    """One line of text, in a rich style such as "green" on a terminal."""
    console().print(Text(printable(text), style=style), soft_wrap=True)


def print_body(body: bytes, indent: str = "  ") -> None:
    """A body to look at: JSON laid out and coloured, other text as it is, the rest escaped."""
    try:
        lines = json.dumps(json.loads(body), indent=2, ensure_ascii=False).splitlines()
        colour = JSONHighlighter().highlight
    except (ValueError, RecursionError):
        lines = body.decode(errors="backslashreplace").splitlines()
        colour = NullHighlighter().highlight
    screen = console()
    for line in lines:
        text = Text(printable(line))
        colour(text)
        screen.print(Text.assemble(indent, text), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; None shows as an empty cell."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(cell)) for cell in row))
    console().print(table)


def print_json(value: Any) -> None:
    """The value as one indented JSON document; what JSON does not know becomes a string.

    It is ASCII, so nothing in it can steer a terminal and every encoding can hold it.
    """
    print(json.dumps(value, indent=2, default=str))


def print_error(error: Exception | str) -> None:
    """`error: …` on standard error; the problems of a ConfigError one per line."""
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        lines = [f"the settings have {len(error.problems)} faults", *error.problems]
    else:
        lines = str(error).splitlines() or [type(error).__name__]
    _print_labelled("error", "bold red", lines)


def print_warning(text: str) -> None:
    """`warning: …` on standard error."""
    _print_labelled("warning", "yellow", text.splitlines())


def _print_labelled(label: str, style: str, lines: Sequence[str]) -> None:
    screen = console(stderr=True)
    first, *others = lines
    screen.print(Text.assemble((f"{label}: ", style), printable(first)), soft_wrap=True)
    for line in others:
        screen.print(Text(f"  {printable(line)}"), soft_wrap=True)
