"""The retry policy as tables of settings write it: waits, jitter, age, errors."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from receiver.retry import DEFAULT_SCHEDULE_SECONDS, Backoff, ErrorMark, RetryOptions
from receiver.settings.problems import KeyPath, Problem
from receiver.settings.section import Section
from receiver.settings.values import Duration, PositiveDuration, one_or_many

Schedule = Annotated[
    tuple[Duration, ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
]
DEFAULT_SCHEDULE = tuple(timedelta(seconds=wait) for wait in DEFAULT_SCHEDULE_SECONDS)

Jitter = Annotated[float, Field(ge=0, le=1)]


def parse_error(value: Any) -> int | str:
    """An HTTP status or an error class's name. Raises ValueError for anything else.

    >>> parse_error(404), parse_error("503"), parse_error("ConnectionError")
    (404, 503, 'ConnectionError')
    """
    text = str(value) if type(value) in (int, str) else ""
    if re.fullmatch(r"[1-5][0-9]{2}", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text, re.ASCII):
        return text
    raise ValueError('write an HTTP status such as 404, or an error class such as "SSLError"')


Errors = Annotated[
    tuple[Annotated[int | str, PlainValidator(parse_error)], ...],
    BeforeValidator(lambda value: [value] if isinstance(value, int) else one_or_many(value)),
]
"""Statuses and error classes; a list of one may be bare."""


class BackoffSettings(Section):
    """Waits that grow."""

    first: PositiveDuration
    """The first wait of a backoff, which replaces the schedule."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Backoff.factor
    """How many times longer each further wait is."""
    cap: PositiveDuration = timedelta(seconds=Backoff.cap_seconds)
    """The longest wait."""

    @model_validator(mode="after")
    def _grows(self) -> "BackoffSettings":
        if self.cap < self.first:
            raise ValueError("its cap is below its first wait; raise the cap")
        return self


class RetryTable(Protocol):
    """The keys of a policy, in whichever table they stand."""

    @property
    def attempts(self) -> int | None: ...
    @property
    def schedule(self) -> tuple[timedelta, ...] | None: ...
    @property
    def backoff(self) -> BackoffSettings | None: ...
    @property
    def jitter(self) -> float | None: ...
    @property
    def max_age(self) -> timedelta | None: ...


def retry_options(
    table: RetryTable,
    *,
    final: tuple[ErrorMark, ...] = (),
    retry_on: tuple[ErrorMark, ...] = (),
) -> RetryOptions:
    """What the table says of retries."""
    waits: tuple[float, ...] | Backoff | None = None
    if table.backoff is not None:
        waits = Backoff(
            first_seconds=table.backoff.first.total_seconds(),
            factor=table.backoff.factor,
            cap_seconds=table.backoff.cap.total_seconds(),
        )
    elif table.schedule is not None:
        waits = tuple(wait.total_seconds() for wait in table.schedule)
    return RetryOptions(
        attempts=table.attempts,
        waits=waits,
        jitter=table.jitter,
        max_age_seconds=None if table.max_age is None else table.max_age.total_seconds(),
        final=final,
        retry_on=retry_on,
    )


def check_retries(path: KeyPath, table: Mapping[str, Any]) -> Iterator[Problem]:
    """The keys that contradict each other, in plain data."""
    if "schedule" in table and "backoff" in table:
        text = "says how long to wait, and so does schedule; keep one of them"
        yield Problem((*path, "backoff"), text)
    retried = _errors(table.get("retry_on"))
    for error in _errors(table.get("final")):
        if error in retried:
            yield Problem((*path, "final"), f"has {error}, and so has retry_on; keep one of them")


def _errors(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [str(each) for each in values if type(each) in (int, str)]
