"""Spans of time as people write them: in settings, in handlers, on the command line."""

import re
from datetime import timedelta
from typing import Any

UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)


def parse_duration(value: Any) -> timedelta:
    """A span of time from "250ms", "30s", "5m", "1h30m", "90d", "2w" or a number of seconds.

    >>> parse_duration("1h30m").total_seconds()
    5400.0
    >>> parse_duration(2.5).total_seconds()
    2.5

    Raises ValueError for anything else, among it negative and endless spans.
    """
    if isinstance(value, timedelta):
        return value
    hint = 'write a duration such as "250ms", "30s", "5m", "1h" or "90d", or a number of seconds'
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return timedelta(seconds=value)
        if isinstance(value, str):
            text = value.strip()
            if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
                return timedelta(seconds=float(text))
            if _DURATION.fullmatch(text):
                parts = _DURATION_PART.findall(text)
                return timedelta(seconds=sum(float(n) * UNIT_SECONDS[unit] for n, unit in parts))
    except (OverflowError, ValueError):
        pass
    raise ValueError(hint)


def format_duration(span: timedelta) -> str:
    """The span in its largest whole unit, readable by `parse_duration`.

    >>> format_duration(timedelta(days=90)), format_duration(timedelta(seconds=90))
    ('90d', '90s')
    """
    milliseconds = round(span.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(milliseconds, round(UNIT_SECONDS[unit] * 1000))
        if count and not rest:
            return f"{count}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def spoken_duration(seconds: float) -> str:
    """Seconds as people say them, in the two units that matter.

    >>> spoken_duration(2520), spoken_duration(3_900.4), spoken_duration(1), spoken_duration(0.2)
    ('42 minutes', '1 hour 5 minutes', '1 second', 'less than a second')
    """
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "less than a second"
