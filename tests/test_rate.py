"""Rates are read and written alike everywhere, and a pace holds its rate for any asking."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.rate import Pace, Rate, parse_rate

RATES = st.builds(
    lambda count, every, unit, burst: (count, every * unit, burst),
    st.integers(1, 999_999), st.integers(1, 9999), st.sampled_from([1, 60, 3600]),
    st.none() | st.integers(1, 999_999),
)  # fmt: skip
INTERVALS = st.floats(0.1, 10)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(1, 1)),
        ("30/m", Rate(30, 60)),
        ("120/h", Rate(120, 3600)),
        ("5/10s", Rate(5, 10)),
        (" 30 / m burst 5 ", Rate(30, 60, 5)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "interval", "per_second"),
    [("1/s", 1, 1), ("30/m", 2, 0.5), ("100/h", 36, 100 / 3600), ("5/10s", 2, 0.5)],
)
def test_what_a_rate_comes_to(text: str, interval: float, per_second: float) -> None:
    rate = parse_rate(text)
    assert (rate.interval_seconds, rate.per_second) == (interval, per_second)


@given(RATES)
def test_a_written_rate_reads_back(parts: tuple[int, int, int | None]) -> None:
    rate = Rate(*parts)
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    "value",
    ["", "fast", "1", "0/s", "1/0s", "1/d", "1/ss", "-1/s", "1.5/s", "1/s burst 0", "\u0661/m",
     1, None],
)  # fmt: skip
def test_what_is_no_rate_is_refused_with_examples(value: Any) -> None:
    with pytest.raises(ValueError, match="write a rate such as"):
        parse_rate(value)


def test_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(Rate(1, 2.0, 3))
    assert [pace.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert pace.take(102.0) == 0.0
    assert pace.take(102.5) == 1.5


def test_without_a_burst_they_are_evenly_spaced() -> None:
    pace = Pace(Rate(2, 1.0))
    assert [pace.take(100.0), pace.take(100.0), pace.take(100.5)] == [0.0, 0.5, 0.0]


def test_no_rate_is_no_limit() -> None:
    pace = Pace(None)
    assert [pace.take(5.0) for _ in range(100)] == [0.0] * 100


@pytest.mark.parametrize("rate", [None, Rate(1, 1.0, 5)])
def test_nothing_goes_during_a_pause(rate: Rate | None) -> None:
    pace = Pace(rate)
    pace.pause(130.0)
    pace.pause(110.0)
    assert (pace.take(100.0), pace.take(129.0)) == (30.0, 1.0)
    assert pace.take(130.0) == 0.0


@given(
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
    interval=INTERVALS,
    burst=st.integers(1, 5),
)
def test_never_more_than_the_rate(gaps: list[float], interval: float, burst: int) -> None:
    """In any span that starts at a token, at most `burst` plus one per interval are given."""
    pace, now, sent = Pace(Rate(1, interval, burst)), 1000.0, []
    for gap in gaps:
        now += gap
        wait = pace.take(now)
        assert wait >= 0
        if wait == 0:
            sent.append(now)
    for first in range(len(sent)):
        span = now - sent[first]
        assert len(sent) - first <= burst + span / interval + 1e-6


@given(gaps=st.lists(st.floats(0, 5), max_size=30), interval=INTERVALS, burst=st.integers(1, 5))
def test_after_the_wait_there_is_a_token(gaps: list[float], interval: float, burst: int) -> None:
    pace, now = Pace(Rate(1, interval, burst)), 1000.0
    for gap in gaps:
        now += gap
        pace.take(now)
    while (wait := pace.take(now)) == 0:
        pass
    assert pace.take(now + wait + 1e-6) == 0


@given(
    gaps=st.lists(st.integers(0, 5), max_size=30),
    interval=st.integers(1, 10),
    burst=st.integers(1, 5),
    unused=st.integers(1, 5),
)
def test_what_is_given_back_was_never_taken(
    gaps: list[int], interval: int, burst: int, unused: int
) -> None:
    pace, other, now = Pace(Rate(1, interval, burst)), Pace(Rate(1, interval, burst)), 1000.0
    for gap in gaps:
        now += gap
        pace.give_back(sum(pace.take(now) == 0 for _ in range(unused)))
        assert pace.take(now) == other.take(now)
