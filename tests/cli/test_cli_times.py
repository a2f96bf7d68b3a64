"""Moments as people type them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from receiver.cli.times import parse_moment

HERE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 23, 1, 30, tzinfo=HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-22T23:30:00+00:00"),
        ("today", "2026-11-22T22:00:00+00:00"),
        ("Yesterday", "2026-11-21T22:00:00+00:00"),
        ("2h", "2026-11-22T21:30:00+00:00"),
        ("1h30m", "2026-11-22T22:00:00+00:00"),
        ("7d", "2026-11-15T23:30:00+00:00"),
        ("2026-11-20", "2026-11-19T22:00:00+00:00"),
        ("2026-11-20T10:00", "2026-11-20T08:00:00+00:00"),
        ("2026-11-20 10:00:00.5", "2026-11-20T08:00:00.500000+00:00"),
        ("2026-11-20T10:00Z", "2026-11-20T10:00:00+00:00"),
        ("2026-11-20T10:00+05:30", "2026-11-20T04:30:00+00:00"),
    ],
)
def test_a_moment_is_read_in_the_zone_of_now(text: str, expected: str) -> None:
    moment = parse_moment(text, NOW)
    assert (moment.isoformat(), moment.tzinfo) == (expected, UTC)


@pytest.mark.parametrize("text", ["", "soon", "-2h", "120", "25:00", "99999999999d", "2026-13-01"])
def test_anything_else_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; write a time ago"):
        parse_moment(text, NOW)
