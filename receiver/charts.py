"""Pictures for messages: small charts as PNG attachments, and their likeness in text.

Drawing needs the extra `charts` (matplotlib). Without it `draw` gives None, and a message says
with `sparkline` what the picture would have shown.
"""

import asyncio
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.model import Attachment

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH_INCHES, _HEIGHT_INCHES, _DOTS_PER_INCH = 7.2, 3.2, 110
_drawing = threading.Lock()
"""One at a time: fonts and settings are matplotlib's, shared by all its figures."""

X = datetime | float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart, or points: `style` is matplotlib's, such as "-", "--" or "o"."""

    xs: Sequence[X]
    ys: Sequence[float]
    label: str = ""
    style: str = "-"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A line chart over time or over numbers."""

    title: str
    lines: Sequence[Line]
    y_label: str = ""
    x_label: str = ""
    marks: Sequence[tuple[X, str]] = ()
    """Vertical lines, each with what stands beside it."""


async def draw(chart: Chart, *, name: str = "chart.png") -> Attachment | None:
    """The chart as a PNG of 792 by 352 pixels; None where matplotlib is not installed.

    It is drawn in a thread: the loop would stand still for some tenths of a second.
    """
    content = await asyncio.to_thread(_draw, chart)
    if content is None:
        return None
    return Attachment(name=name, content_type="image/png", content=content)


def sparkline(values: Sequence[float], *, most: int = 40) -> str:
    """The values as a line of bars, the last `most` of them.

    >>> sparkline([1, 2, 3, 4, 8])
    '▁▂▃▄█'
    >>> sparkline([5, 5, 5]), sparkline([])
    ('▄▄▄', '')
    """
    shown = values[-most:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high <= low:
        return _BARS[3] * len(shown)
    step = (high - low) / (len(_BARS) - 1)
    return "".join(_BARS[round((value - low) / step)] for value in shown)


def _draw(chart: Chart) -> bytes | None:
    try:
        # Slow to import, and only those who draw need it.
        from matplotlib import dates, figure  # noqa: PLC0415
    except ImportError:
        return None
    by_date: Any = dates  # its classes have no annotations
    with _drawing:
        size = (_WIDTH_INCHES, _HEIGHT_INCHES)
        page = figure.Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="tight")
        axes: Any = page.add_subplot()
        for line in chart.lines:
            axes.plot(line.xs, line.ys, line.style, label=_plain(line.label), linewidth=2)
        for x, text in chart.marks:
            axes.axvline(x, color="0.6", linewidth=1, linestyle=":")
            axes.annotate(_plain(text), (x, 1), xycoords=("data", "axes fraction"),
                          xytext=(4, -10), textcoords="offset points", fontsize=8)  # fmt: skip
        if any(isinstance(x, datetime) for line in chart.lines for x in line.xs):
            locator = by_date.AutoDateLocator()
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(by_date.ConciseDateFormatter(locator))
        axes.set_title(_plain(chart.title), fontsize=11, loc="left")
        axes.set_ylabel(_plain(chart.y_label))
        axes.set_xlabel(_plain(chart.x_label))
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if any(line.label for line in chart.lines):
            axes.legend(frameon=False, fontsize=8)
        picture = io.BytesIO()
        page.savefig(picture, format="png")
        return picture.getvalue()


def _plain(text: str) -> str:
    """The text without matplotlib's own markup: a payload's `$` would begin a formula, and a
    label that begins with `_` is left out.
    """
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
