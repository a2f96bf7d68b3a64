"""Moments as people type them: `2h`, `yesterday`, `2026-11-23`, `2026-11-23T15:04:05Z`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from receiver.durations import parse_duration
from receiver.errors import UsageError
from receiver.model import to_ms

TIME_FORMS = "a time ago (90s, 2h, 7d), now, today, yesterday, or ISO 8601 (2026-11-23T15:04Z)"

SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help=f"Not before: {TIME_FORMS}.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before that moment; as --since.")
]


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment, aware UTC. Days and times without an offset are of `now`'s time zone.

    >>> now = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
    >>> parse_moment("2h", now).isoformat(), parse_moment("yesterday", now).isoformat()
    ('2026-11-23T13:00:00+00:00', '2026-11-22T00:00:00+00:00')

    Raises ValueError for anything else.
    """
    word = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if word in words:
        return words[word].astimezone(UTC)
    try:
        # A bare number could be meant as a year, a Unix time or seconds.
        if not word.isdigit():
            return (now - parse_duration(word)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write {TIME_FORMS}") from None


def moment_ms(option: str, text: str | None, now: datetime | None = None) -> int | None:
    """What the option says, in Unix milliseconds; None if it is not there. Raises UsageError."""
    try:
        return (
            None if text is None else to_ms(parse_moment(text, now or datetime.now().astimezone()))
        )
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def span_ms(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """What --since and --until say, in Unix milliseconds. Raises UsageError."""
    now = datetime.now().astimezone()
    first = moment_ms("--since", since, now)
    last = moment_ms("--until", until, now)
    if first is not None and last is not None and first >= last:
        raise UsageError(f"--since {since} is not before --until {until}, so nothing is between")
    return first, last


def shown(moment: datetime | None) -> str:
    """A moment for people, to the second, in a form that --since takes.

    >>> shown(datetime(2026, 11, 23, 15, 0, 0, 123_000, tzinfo=UTC))
    '2026-11-23T15:00:00Z'
    """
    return "" if moment is None else iso(moment.replace(microsecond=0), "seconds")


def iso(moment: datetime, precision: str = "milliseconds") -> str:
    """A moment as JSON has it: ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def duration(milliseconds: float) -> str:
    """A span for people.

    >>> duration(0.42), duration(12.3), duration(61_000)
    ('0.4 ms', '12 ms', '61.0 s')
    """
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
