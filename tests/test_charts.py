"""Pictures for messages: real PNGs, whatever the text in them, and their likeness in text."""

import struct
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.charts import Chart, Line, draw, sparkline

DAYS = [datetime(2026, 7, day, tzinfo=UTC) for day in (1, 10, 20)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def size_of(png: bytes) -> tuple[int, ...]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


@pytest.mark.anyio
async def test_a_chart_over_time_is_a_png() -> None:
    lines = [Line(xs=DAYS, ys=[1500, 700, 120], label="left", style="o-")]
    marks = [(datetime(2026, 7, 31, tzinfo=UTC), "period ends")]
    picture = await draw(Chart(title="Credits", lines=lines, marks=marks), name="credits.png")
    assert picture is not None
    assert (picture.name, picture.content_type) == ("credits.png", "image/png")
    assert size_of(picture.content) == (792, 352)


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["$", "$\\frac{1}{", "a_{b", "\\", "", "✗ ümlaut", "_x"])
async def test_a_payloads_text_is_text_and_no_markup(text: str) -> None:
    line = Line(xs=[1, 2], ys=[0, 3], label=text)
    chart = Chart(title=text, lines=[line], x_label=text, y_label=text, marks=[(1, text)])
    picture = await draw(chart)
    assert picture is not None
    assert size_of(picture.content) == (792, 352)


@pytest.mark.anyio
async def test_one_point_and_no_line_are_charts_too() -> None:
    for lines in ([], [Line(xs=[1], ys=[0])]):
        assert await draw(Chart(title="few", lines=lines)) is not None


@pytest.mark.anyio
async def test_without_the_extra_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert await draw(Chart(title="none", lines=[])) is None


@given(st.lists(st.floats(-1e9, 1e9), max_size=60))
def test_a_sparkline_has_a_bar_for_each_of_the_last_values(values: list[float]) -> None:
    bars = sparkline(values)
    assert len(bars) == min(len(values), 40)
    shown = values[-40:]
    for one, bar in zip(shown, bars, strict=True):
        for other, beside in zip(shown, bars, strict=True):
            if one < other:
                assert bar <= beside
