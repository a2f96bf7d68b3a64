"""The arithmetic of quiet hours: midnight, weekdays, the days on which the clock changes."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.quiet import QuietHours

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in
         ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
          "Africa/Casablanca")]  # fmt: skip


def quiet(start: str, end: str, **options: object) -> QuietHours:
    return QuietHours(
        start=time.fromisoformat(start), end=time.fromisoformat(end), zone=BERLIN, **options
    )


def ends(hours: QuietHours, moment: str) -> str | None:
    """The end in local time with its offset."""
    end = hours.ends_at(datetime.fromisoformat(moment).astimezone(UTC))
    return None if end is None else end.astimezone(BERLIN).isoformat()


@pytest.mark.parametrize(
    ("start", "end", "moment", "expected"),
    [
        ("22:00", "07:00", "2026-07-01T21:59:59+02:00", None),
        ("22:00", "07:00", "2026-07-01T22:00+02:00", "2026-07-02T07:00:00+02:00"),
        ("22:00", "07:00", "2026-07-02T00:00+02:00", "2026-07-02T07:00:00+02:00"),
        ("22:00", "07:00", "2026-07-02T06:59:59+02:00", "2026-07-02T07:00:00+02:00"),
        ("22:00", "07:00", "2026-07-02T07:00+02:00", None),
        ("12:00", "13:00", "2026-07-01T12:30+02:00", "2026-07-01T13:00:00+02:00"),
        # The night in which the clock goes from 02:00 to 03:00 has an hour less.
        ("22:00", "07:00", "2026-03-28T23:00+01:00", "2026-03-29T07:00:00+02:00"),
        # 02:30 does not come: the end is the jump, and so is the start.
        ("22:00", "02:30", "2026-03-29T01:59+01:00", "2026-03-29T03:00:00+02:00"),
        ("22:00", "02:30", "2026-03-29T03:00+02:00", None),
        ("02:30", "05:00", "2026-03-29T01:59:59+01:00", None),
        ("02:30", "05:00", "2026-03-29T03:00+02:00", "2026-03-29T05:00:00+02:00"),
        ("02:10", "02:50", "2026-03-29T03:00+02:00", None),
        # 02:30 comes twice: quiet from the first one, until the second one.
        ("22:00", "07:00", "2026-10-24T22:00+02:00", "2026-10-25T07:00:00+01:00"),
        ("22:00", "02:30", "2026-10-25T02:45+02:00", "2026-10-25T02:30:00+01:00"),
        ("22:00", "02:30", "2026-10-25T02:30+01:00", None),
        ("02:30", "05:00", "2026-10-25T02:29:59+02:00", None),
        ("02:30", "05:00", "2026-10-25T02:30+02:00", "2026-10-25T05:00:00+01:00"),
    ],
)
def test_ends(start: str, end: str, moment: str, expected: str | None) -> None:
    assert ends(quiet(start, end), moment) == expected


def test_days_are_those_on_which_it_begins_and_rests_that_touch_are_one() -> None:
    friday_night = quiet("22:00", "07:00", days=frozenset({4}))
    assert ends(friday_night, "2026-07-04T03:00+02:00") == "2026-07-04T07:00:00+02:00"
    assert ends(friday_night, "2026-07-03T03:00+02:00") is None
    weekend = quiet("00:00", "00:00", days=frozenset({5, 6}))
    assert ends(weekend, "2026-07-04T00:00+02:00") == "2026-07-06T00:00:00+02:00"
    assert ends(weekend, "2026-07-03T23:59+02:00") is None


times = st.times().map(lambda each: each.replace(second=0, microsecond=0))
YEARS = datetime(2024, 1, 1), datetime(2028, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
moments = st.datetimes(*YEARS, timezones=st.just(UTC))


@given(times, times, st.sets(st.integers(0, 6), min_size=1, max_size=6), st.sampled_from(ZONES),
       moments)  # fmt: skip
def test_an_end_is_later_and_not_quiet_and_all_before_it_is_quiet(
    start: time, end: time, days: set[int], zone: ZoneInfo, moment: datetime
) -> None:
    hours = QuietHours(start=start, end=end, days=frozenset(days), zone=zone)
    ends_at = hours.ends_at(moment)
    if ends_at is None:
        return
    assert moment < ends_at <= moment + timedelta(days=7)
    assert hours.ends_at(ends_at) is None
    assert hours.ends_at(ends_at - timedelta(seconds=1)) == ends_at
    middle = moment + (ends_at - moment) / 2
    assert hours.ends_at(middle) == ends_at


@given(times, times, st.sampled_from(ZONES), moments)
def test_away_from_changes_of_the_clock_the_wall_clock_decides(
    start: time, end: time, zone: ZoneInfo, moment: datetime
) -> None:
    day = timedelta(days=1)
    offsets = {(moment + n * day).astimezone(zone).utcoffset() for n in (-2, -1, 0, 1, 2)}
    if len(offsets) > 1 or start == end:
        return
    now = moment.astimezone(zone).time()
    is_quiet = start <= now < end if start < end else now >= start or now < end
    hours = QuietHours(start=start, end=end, zone=zone)
    found = hours.ends_at(moment)
    assert (found is not None) == is_quiet
    if found is not None:
        assert found.astimezone(zone).time() == end
        assert found - moment < day
