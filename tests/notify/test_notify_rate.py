"""Pacing holds its rate for any pattern of asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import ConfigError
from receiver.notify.rate import MAX_WAIT_SECONDS, Pace, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(1.0)),
        ("30/m", Rate(2.0)),
        ("120/h", Rate(30.0)),
        ("5/10s", Rate(2.0)),
        (" 30 / m burst 5 ", Rate(2.0, 5)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "0/s", "1/0s", "1/d", "-1/s", "1/s burst 0", "\u0661/m"]
)
def test_what_is_no_rate_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a rate: write"):
        parse_rate(text)


def test_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(Rate(interval_seconds=2.0, burst=3))
    assert [pace.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert pace.take(102.0) == 0.0
    assert pace.take(102.5) == 1.5


def test_no_rate_is_no_limit() -> None:
    pace = Pace(None)
    assert [pace.take(5.0) + pace.next_slot(5.0) for _ in range(100)] == [0.0] * 100


def test_those_who_wait_are_given_different_slots() -> None:
    pace = Pace(Rate(interval_seconds=1.0))
    pace.take(50.0)
    assert [pace.next_slot(50.0) for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert pace.next_slot(51.0) == 0.0


@pytest.mark.parametrize("rate", [None, Rate(interval_seconds=1.0, burst=5)])
def test_nothing_goes_during_a_pause(rate: Rate | None) -> None:
    pace = Pace(rate)
    pace.pause(130.0)
    pace.pause(110.0)
    assert (pace.take(100.0), pace.next_slot(129.0)) == (30.0, 1.0)
    assert (pace.next_slot(130.0), pace.take(130.0)) == (0.0, 0.0)


def test_no_slot_is_named_further_than_an_hour_away() -> None:
    pace = Pace(Rate(interval_seconds=1000.0))
    pace.take(0.0)
    assert all(0 < pace.next_slot(0.0) <= MAX_WAIT_SECONDS for _ in range(20))


@given(
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
    interval=st.floats(0.1, 10),
    burst=st.integers(1, 5),
)
def test_never_more_than_the_rate(gaps: list[float], interval: float, burst: int) -> None:
    """In any span that starts at a send, at most `burst` plus one per interval go."""
    pace, now, sent = Pace(Rate(interval, burst)), 1000.0, []
    for gap in gaps:
        now += gap
        wait = pace.take(now)
        assert wait >= 0
        if wait == 0:
            sent.append(now)
    for first in range(len(sent)):
        span = now - sent[first]
        assert len(sent) - first <= burst + span / interval + 1e-6


@given(
    gaps=st.lists(st.floats(0, 5), max_size=30),
    interval=st.floats(0.1, 10),
    burst=st.integers(1, 5),
)
def test_after_the_wait_there_is_a_token(gaps: list[float], interval: float, burst: int) -> None:
    pace, now = Pace(Rate(interval, burst)), 1000.0
    for gap in gaps:
        now += gap
        pace.take(now)
    while (wait := pace.take(now)) == 0:
        pass
    assert pace.take(now + wait + 1e-6) == 0
