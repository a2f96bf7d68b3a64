"""What templates can do with a value: numbers, durations, times and texts, as people read them.

Each takes whatever an event may hold. What a filter can't read it shows as it is, and what is
missing as a dash: a message about a failure must not fail over a field.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any

from jinja2 import Undefined

from receiver.fields import field_at

NOTHING = "—"
MAX_FACTS = 20
MAX_FACT_CHARS = 200
_STEPS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def number(value: Any, decimals: int | None = None, missing: str = NOTHING) -> str:
    """A number with thousands and, if asked for, that many decimals.

    >>> number(1234567), number(1234.5), number(2, 2), number(None), number("many")
    ('1,234,567', '1,234.5', '2.00', '—', 'many')
    """
    if is_missing(value):
        return missing
    if not is_number(value):
        return shown(value)
    if decimals is None:
        if isinstance(value, float) and not value.is_integer():
            return f"{value:,.2f}".rstrip("0").rstrip(".")
        decimals = 0
    return f"{value:,.{max(0, min(decimals, 10))}f}"


def percent(value: Any, of: Any = None, decimals: int = 0, missing: str = NOTHING) -> str:
    """A percentage; with `of`, how many percent the value is of that.

    >>> percent(7.5, decimals=1), percent(45, 500), percent(3, 0), percent(None)
    ('7.5 %', '9 %', '—', '—')
    """
    if of is not None:
        if not (is_number(value) and is_number(of)) or not of:
            return missing
        value = 100 * value / of
    return number(value, decimals, missing) + (" %" if is_number(value) else "")


def duration(value: Any, missing: str = NOTHING) -> str:
    """Seconds, or a timedelta, in the two units that matter.

    >>> duration(7500), duration(42.04), duration(0.35), duration(90061), duration("soon")
    ('2 h 5 min', '42 s', '350 ms', '1 d 1 h', 'soon')
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if is_missing(value):
        return missing
    if not is_number(value):
        return shown(value)
    sign, seconds = ("-" if value < 0 else ""), abs(value)
    if seconds < 1:
        return f"{sign}{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{sign}{seconds:.1f}".removesuffix(".0") + " s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in _STEPS:
        if left >= size or parts:
            parts.append((left // size, unit))
            left %= size
    return sign + " ".join(f"{number(n)} {unit}" for n, unit in parts[:2] if n)


def size(value: Any, missing: str = NOTHING) -> str:
    """A number of bytes.

    >>> size(999), size(1_500_000), size(None)
    ('999 B', '1.5 MB', '—')
    """
    if is_missing(value) or not is_number(value):
        return missing if is_missing(value) else shown(value)
    left = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(left) < 1000:
            return f"{left:.0f} B" if unit == "B" else f"{left:.1f} {unit}".replace(".0 ", " ")
        left /= 1000
    return f"{left:,.1f} TB"


def when(value: Any, zone: tzinfo, pattern: str, missing: str = NOTHING) -> str:
    """A moment in a time zone. `pattern` is that of strftime.

    >>> when("2026-03-01T12:00:00Z", UTC, "%Y-%m-%d %H:%M %Z"), when("soon", UTC, "")
    ('2026-03-01 12:00 UTC', 'soon')
    """
    if is_missing(value):
        return missing
    read = moment(value)
    if read is None:
        return shown(value)
    try:
        return read.astimezone(zone).strftime(pattern)
    except (OverflowError, ValueError):  # the year 9999 west of Greenwich
        return shown(value)


def ago(value: Any, now: datetime, missing: str = NOTHING) -> str:
    """How long before `now` a moment was, or how long after it it will be.

    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> ago("2026-03-01T11:18:00Z", noon), ago("2026-03-01T14:00:00Z", noon)
    ('42 min ago', 'in 2 h')
    """
    if is_missing(value):
        return missing
    read = moment(value)
    if read is None:
        return shown(value)
    seconds = (now - read).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def plural(value: Any, one: str, many: str | None = None, missing: str = NOTHING) -> str:
    """A number with its noun.

    >>> plural(1, "record"), plural(2500, "record"), plural(2, "query", "queries")
    ('1 record', '2,500 records', '2 queries')
    """
    return f"{number(value, missing=missing)} {one if value == 1 else many or one + 's'}"


def truncate(value: Any, length: int = 200, end: str = "…") -> str:
    """The text up to a length, `end` included, cut between words where that loses little.

    >>> truncate("one two three", 9), truncate("short", 9)
    ('one two…', 'short')
    """
    text = shown(value)
    if len(text) <= length:
        return text
    cut = text[: max(0, length - len(end))]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > len(cut) * 0.6 else cut).rstrip() + end


def pick(value: Any, *paths: str) -> Any:
    """The first of these fields that has something in it; None if none has.

    >>> pick({"error": {"message": "no disk"}}, "reason", "error.message", "error")
    'no disk'
    """
    for path in paths:
        found = field_at(value, path)
        if not is_missing(found) and found not in ("", [], {}):
            return found
    return None


def facts(value: Any) -> list[tuple[str, str]]:
    """The plain values in a value, each with a name for people: at most 20.

    >>> facts({"goal_name": "Revenue", "milestone": {"value": 1000}})
    [('Goal name', 'Revenue'), ('Milestone value', '1,000')]
    """
    return list(islice(_facts(value, "", 0), MAX_FACTS))


def _facts(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping | list) and depth < 8:
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
        for key, inner in pairs:
            yield from _facts(inner, f"{name} {key}".replace("_", " ").strip(), depth + 1)
    elif not is_missing(value):
        is_count = is_number(value) and not name.endswith((" id", "year"))
        text = number(value) if is_count else shown(value)
        label = f"{name[:1].upper()}{name[1:]}" or "Value"
        yield truncate(label, 60), truncate(text, MAX_FACT_CHARS)


def shown(value: Any) -> str:
    """Any value as text: JSON's own words for what is no text, nothing for what is missing.

    >>> shown("a"), shown(None), shown(True), shown({"a": [1]}), shown(2.0)
    ('a', '', 'true', '{"a": [1]}', '2')
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, bool | Mapping | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    try:
        return str(value)
    except ValueError:  # an integer with thousands of digits
        return "(a very large number)"


def moment(value: Any) -> datetime | None:
    """The aware moment that a value tells: a datetime, ISO 8601 text, or Unix seconds."""
    try:
        if isinstance(value, datetime):
            read = value
        elif isinstance(value, str):
            text = re.sub(r"[Zz]$", "+00:00", value.strip())
            read = datetime.fromisoformat(text)
        elif is_number(value):
            read = datetime.fromtimestamp(value, UTC)
        else:
            return None
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Of an integer with thousands of digits nobody can make a float or a text.
    return abs(value) < 10**300 if isinstance(value, int) else math.isfinite(value)


def is_missing(value: Any) -> bool:
    """Whether there is nothing to show."""
    return value is None or isinstance(value, Undefined)
