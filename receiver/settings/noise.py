"""Settings that keep messages back: quiet hours, grouping into digests, throttling."""

import re
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from functools import cache
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)

from receiver.holds import NoiseOptions
from receiver.model import Severity
from receiver.quiet import WEEKDAYS, QuietHours
from receiver.rate import Rate, parse_rate
from receiver.settings.problems import KeyPath, Problem, name_hint
from receiver.settings.section import Section
from receiver.settings.values import one_or_many

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_FIELD = re.compile(r"[^\s.]+(?:\.[^\s.]+)+")
_WORDS = ("type", "source", "severity", "title")


def _clock(value: Any) -> time:
    if isinstance(value, time):  # TOML has times of its own
        return value
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a time of day such as "22:00"')
    return time(int(match[1]), int(match[2]))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError('write a time zone such as "Europe/Berlin"')
    if name not in _zones():
        raise ValueError(f'there is no time zone "{name}"; {_zone_hint(name)}')
    return name


def _zone_hint(name: str) -> str:
    """The nearest zone: by its whole name, or by the city alone."""
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(_zones())}
    zone = cities.get(name.rpartition("/")[2].replace(" ", "_").lower())
    if zone is not None:
        return f'did you mean "{zone}"?'
    hint = name_hint(name, _zones())
    return hint if hint.startswith("did") else 'write one such as "Europe/Berlin" or "UTC"'


def _day(value: Any) -> str:
    day = value.strip().lower()[:3] if isinstance(value, str) else ""
    if day not in WEEKDAYS:
        raise ValueError(f"write days as {', '.join(WEEKDAYS)}")
    return day


def _event_field(text: str) -> str:
    field = text.removeprefix("event.")
    if field in _WORDS or field != text or _FIELD.fullmatch(field):
        return field
    raise ValueError(
        f'"{text}" is no field; write "type", "source", "severity", "title", or where it stands '
        f'in the body, such as "data.data_source_id" or "event.{text or "action"}"'
    )


def _throttle(value: Any) -> Rate:
    rate = parse_rate(value)
    if rate.burst is not None:
        raise ValueError('has no burst; write a count and a window, such as "5/h"')
    return rate


EventFields = Annotated[
    tuple[Annotated[str, AfterValidator(_event_field)], ...], BeforeValidator(one_or_many)
]
ThrottleValue = Annotated[Rate, PlainValidator(_throttle), PlainSerializer(str)]
TimeOfDay = Annotated[time, PlainValidator(_clock), PlainSerializer(lambda value: f"{value:%H:%M}")]
ZoneName = Annotated[str, BeforeValidator(_zone)]
Day = Annotated[str, BeforeValidator(_day)]


class QuietHoursSettings(Section):
    """When a channel rests."""

    from_: TimeOfDay = Field(alias="from")
    """When quiet hours begin, such as "22:00": what comes is held."""
    until: TimeOfDay
    """When they end, on the next day if that is not after `from`: what was held goes out."""
    days: Annotated[tuple[Day, ...], BeforeValidator(one_or_many), Field(min_length=1)] = WEEKDAYS
    """The days on which they begin."""
    timezone: ZoneName = "UTC"
    """The time zone of these times, such as "Europe/Berlin"."""
    unless: Severity | None = None
    """A severity: what is as severe or more goes out all the same; unset is nothing."""

    @model_validator(mode="after")
    def _ends(self) -> "QuietHoursSettings":
        if self.hours.is_endless:
            raise ValueError("never end: nothing would go out; set days, or another time")
        return self

    @property
    def hours(self) -> QuietHours:
        """The same as what tells whether a moment is quiet."""
        return QuietHours(
            start=self.from_,
            end=self.until,
            days=frozenset(WEEKDAYS.index(day) for day in self.days),
            zone=ZoneInfo(self.timezone),
        )


class NoiseTable(Protocol):
    """The keys of grouping and throttling, in whichever table they stand."""

    @property
    def group_by(self) -> tuple[str, ...] | None: ...
    @property
    def wait(self) -> timedelta | None: ...
    @property
    def every(self) -> timedelta | None: ...
    @property
    def throttle(self) -> Rate | None: ...
    @property
    def throttle_by(self) -> tuple[str, ...] | None: ...


def noise_options(table: NoiseTable) -> NoiseOptions:
    """What the table says of grouping and throttling."""
    return NoiseOptions(
        group_by=table.group_by,
        wait_ms=_ms(table.wait),
        every_ms=_ms(table.every),
        throttle=table.throttle,
        throttle_by=table.throttle_by,
    )


def check_noise(path: KeyPath, table: Mapping[str, Any]) -> Iterator[Problem]:
    """The keys of a channel, in plain data, that do nothing without another one."""
    for key in ("wait", "every"):
        if key in table and "group_by" not in table:
            yield Problem((*path, key), 'does nothing without group_by; set group_by = ["type"]')
    if "throttle_by" in table and "throttle" not in table:
        yield Problem((*path, "throttle_by"), 'does nothing without throttle, such as "5/h"')


def _ms(span: timedelta | None) -> int | None:
    return None if span is None else int(span.total_seconds() * 1000)
