"""How answers look to people: fields, rows, and bars."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from receiver.cli.output import print_line, print_table
from receiver.printable import printable

BAR_CELLS = 40


def show_fields(fields: Mapping[str, object]) -> None:
    """One field per line, the names in a column; None shows as a dash."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print_line(f"{name:{width}}  {cell(value)}")


def show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Free rows as a table: their columns are all names that occur, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        print_line("no rows")
        return
    shown = [
        [None if row.get(name) is None else cell(row[name]) for name in columns] for row in rows
    ]
    print_table([printable(name) for name in columns], shown)


def show_chart(rows: Sequence[Mapping[str, Any]]) -> None:
    """A bar per row: labelled by the first column of text, as long as the first number says.

    Rows without a number are shown as a table.
    """
    label = _column(rows, lambda value: isinstance(value, str))
    number = _column(rows, _is_number)
    if number is None:
        show_rows(rows)
        return
    values = [row[number] if _is_number(row.get(number)) else 0 for row in rows]
    labels = [
        printable(row.get(label, "") if label else index + 1) for index, row in enumerate(rows)
    ]
    width = max(map(len, labels))
    digits = max(len(cell(value)) for value in values)
    for text, value, bar in zip(labels, values, bars(values), strict=True):
        print_line(f"{text:{width}}  {cell(value):>{digits}}  {bar}")


def bars(values: Sequence[float], cells: int = BAR_CELLS) -> list[str]:
    """Bars in proportion to the largest size; what is below zero is drawn hollow.

    >>> bars([4, 1, 0, -2], 4)
    ['████', '█', '', '░░']
    """
    largest = max((abs(value) for value in values), default=0)
    full, hollow = ("█", "░") if _can_draw() else ("#", "-")
    return [
        (full if value > 0 else hollow) * round(cells * abs(value) / largest) if largest else ""
        for value in values
    ]


def cell(value: object) -> str:
    """A value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.2f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M} UTC" if value.utcoffset() is not None else str(value)
        case list() | tuple():
            return ", ".join(cell(one) for one in value)
        case _:
            return str(value)


def _column(rows: Sequence[Mapping[str, Any]], fits: Any) -> str | None:
    names = dict.fromkeys(name for row in rows for name in row)
    return next((name for name in names if any(fits(row.get(name)) for row in rows)), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _can_draw() -> bool:
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
