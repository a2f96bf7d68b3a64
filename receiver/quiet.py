"""Quiet hours: when a channel rests, in the local time of a place. Pure arithmetic."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_MOST_IN_A_ROW = 8
"""Rests that follow each other without a gap for longer than a week never end."""


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """A rest from `start` to `end` by the clock on the wall, on the days on which it begins.

    >>> night = QuietHours(start=time(22), end=time(7), zone=ZoneInfo("Europe/Berlin"))
    >>> night.ends_at(datetime(2026, 7, 1, 23, 0, tzinfo=UTC)).isoformat()
    '2026-07-02T05:00:00+00:00'
    >>> night.ends_at(datetime(2026, 7, 1, 12, 0, tzinfo=UTC)) is None
    True
    """

    start: time
    end: time
    """Not after `start`: it ends on the next day. Equal: it lasts a whole day."""
    days: frozenset[int] = frozenset(range(7))
    """Weekdays on which it begins; 0 is Monday."""
    zone: ZoneInfo

    def ends_at(self, moment: datetime) -> datetime | None:
        """When the rest ends that `moment` (aware) is in, in UTC; None if it is in none.

        Rests that touch are one. Where the clock jumps over a time, that is the moment of the
        jump; an hour that comes twice is quiet both times.
        """
        end = self._end_of_one(moment)
        for _ in range(_MOST_IN_A_ROW):
            longer = None if end is None else self._end_of_one(end)
            if longer is None:
                return end
            end = longer
        return end

    @property
    def is_endless(self) -> bool:
        """Whether it is quiet all the time: nothing would ever go out."""
        return self.start == self.end and len(self.days) == len(WEEKDAYS)

    def _end_of_one(self, moment: datetime) -> datetime | None:
        today = moment.astimezone(self.zone).date()
        # The latest one that has begun ends last. One may begin at an hour that comes twice.
        for day in (today, today - _DAY, today - 2 * _DAY):
            if day.weekday() in self.days:
                first, last = self._span(day)
                if first <= moment < last:
                    return last
        return None

    def _span(self, day: date) -> tuple[datetime, datetime]:
        last_day = day if self.end > self.start else day + _DAY
        return (
            self._moment(datetime.combine(day, self.start), is_end=False),
            self._moment(datetime.combine(last_day, self.end), is_end=True),
        )

    def _moment(self, local: datetime, *, is_end: bool) -> datetime:
        first = local.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        second = local.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        if first <= second:  # it comes once, or twice
            return second if is_end else first
        # The clock jumps over it: with the offset from after the jump it lies before the jump.
        before, after = second, first
        while after - before > timedelta(seconds=1):
            middle = before + (after - before) // 2
            if middle.astimezone(self.zone).utcoffset() == before.astimezone(self.zone).utcoffset():
                before = middle
            else:
                after = middle
        return after.replace(microsecond=0)
