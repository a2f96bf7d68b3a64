"""`@on(...)`: says which events a function handles, and how it is to be run."""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Never, TypeVar

from receiver.durations import parse_duration
from receiver.errors import HandlerLoadError
from receiver.rate import Rate, parse_rate

Func = TypeVar("Func", bound=Callable[..., Any])
Duration = str | float | timedelta
"""`"30s"`, `"250ms"`, `"1h30m"`, a number of seconds, or a `timedelta`."""

MARK = "__clarihook_on__"
"""On a function: its registrations. In a module: its functions that have registrations."""

_OPTIONS = ("attempts", "timeout", "key", "name", "concurrency", "rate", "schedule")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One `@on(...)` line, checked. None means: what the settings say."""

    patterns: tuple[str, ...]
    name: str | None
    attempts: int | None
    timeout_seconds: float | None
    key: str | None
    concurrency: int | None
    rate: Rate | None
    schedule_seconds: tuple[float, ...] | None
    file: str
    line: int


def on(
    pattern: str,
    *patterns: str,
    attempts: int | None = None,
    timeout: Duration | None = None,
    key: str | None = None,
    name: str | None = None,
    concurrency: int | None = None,
    rate: str | None = None,
    schedule: Sequence[Duration] | None = None,
    **unknown: Never,
) -> Callable[[Func], Func]:
    """Register a function for every event whose type fits one of the patterns.

    A `*` in a pattern stands for any run of characters, dots too: `data_source.*`, `*.failed`,
    `*`. The function comes back unchanged; it is found when its file is loaded. Put `@on` on top
    of any other decorator.

    attempts: runs before the delivery is dead. timeout: how long one run may take.
    key: a dotted path into the body (`data.data_source_id`); events with an equal value there
    are handled in order, one at a time. name: instead of `<file>.<function>`.
    concurrency: how many runs may be under way at once. rate: how many may begin in a time,
    `"1/s"`, `"30/m burst 5"`. schedule: the waits between attempts.

    Raises HandlerLoadError, with file and line, for anything that it can't use.
    """
    frame = sys._getframe(1)
    file, line = frame.f_code.co_filename, frame.f_lineno
    registered = frame.f_globals
    try:
        _refuse_unknown(unknown)
        registration = Registration(
            patterns=tuple(_pattern(each) for each in (pattern, *patterns)),
            name=_name(name),
            attempts=_count("attempts", attempts),
            timeout_seconds=None if timeout is None else _seconds("timeout", timeout),
            key=_key(key),
            concurrency=_count("concurrency", concurrency),
            rate=_rate(rate),
            schedule_seconds=_schedule(schedule),
            file=file,
            line=line,
        )
    except ValueError as problem:
        raise HandlerLoadError(f"{file}:{line}: @on: {problem}") from None

    def register(func: Func) -> Func:
        if not hasattr(func, "__code__"):
            raise HandlerLoadError(f"{file}:{line}: @on goes on a function, not on {func!r}")
        func.__dict__.setdefault(MARK, []).append(registration)
        functions: list[Any] = registered.setdefault(MARK, [])
        if func not in functions:
            functions.append(func)
        return func

    return register


def check_name(name: str) -> str:
    """A handler's name is part of ids, metrics and commands, so it is kept plain."""
    if not re.fullmatch(r"[\w.-]{1,200}", name):
        raise ValueError(f"{name!r} can't be a handler's name: use letters, digits, `.`, `_`, `-`")
    return name


def _refuse_unknown(unknown: dict[str, Any]) -> None:
    for word in unknown:
        near = difflib.get_close_matches(word, _OPTIONS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(_OPTIONS)}"
        raise ValueError(f"there is no option {word!r}; {hint}")


def _pattern(pattern: Any) -> str:
    if not isinstance(pattern, str) or not pattern or re.search(r"\s", pattern):
        raise ValueError(
            f'{pattern!r} is no event type pattern; write one like "data_source.sync_failed", '
            '"data_source.*" or "*"'
        )
    return pattern


def _name(name: str | None) -> str | None:
    return None if name is None else check_name(name)


def _count(option: str, value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"{option} = {value!r}: give a whole number, 1 or more")


def _rate(rate: Any) -> Rate | None:
    try:
        return None if rate is None else parse_rate(rate)
    except ValueError as problem:
        raise ValueError(f"rate = {rate!r}: {problem}") from None


def _seconds(option: str, value: Duration) -> float:
    try:
        seconds = parse_duration(value).total_seconds()
    except ValueError as problem:
        raise ValueError(f"{option} = {value!r}: {problem}") from None
    if seconds <= 0:
        raise ValueError(f"{option} = {value!r}: give more than 0")
    return seconds


def _schedule(waits: Sequence[Duration] | None) -> tuple[float, ...] | None:
    if waits is None:
        return None
    if isinstance(waits, str) or not waits:
        raise ValueError('schedule: give a list of durations, like ["5s", "30s", "2m"]')
    return tuple(_seconds("schedule", wait) for wait in waits)


def _key(key: Any) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not re.fullmatch(r"[^.\s/]+(\.[^.\s/]+)*", key):
        raise ValueError(
            f'key = {key!r}: give a dotted path into the body, like "data.data_source_id"'
        )
    return key
