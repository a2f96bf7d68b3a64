"""`@on(...)`: says which events a function handles, and how it is to be run."""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Never, NotRequired, TypedDict, TypeVar, get_args

from receiver.durations import parse_duration
from receiver.errors import HandlerLoadError
from receiver.rate import Rate, parse_rate
from receiver.retry import Backoff, ErrorMark, RetryOptions, Waits

Func = TypeVar("Func", bound=Callable[..., Any])
Duration = str | float | timedelta
"""`"30s"`, `"250ms"`, `"1h30m"`, a number of seconds, or a `timedelta`."""

OnRetry = Literal["hold", "step_aside"]
"""What a delivery that waits for a retry does with its key."""

MARK = "__clarihook_on__"
"""On a function: its registrations. In a module: its functions that have registrations."""

_OPTIONS = (
    "attempts", "timeout", "key", "on_retry", "name", "concurrency", "rate",
    "schedule", "backoff", "jitter", "max_age", "final",
)  # fmt: skip


class BackoffOptions(TypedDict):
    """Waits that grow: the first one, by what factor (2), up to what cap (12 h)."""

    first: Duration
    factor: NotRequired[float]
    cap: NotRequired[Duration]


FinalError = type[BaseException] | str
"""An exception's class, or its name: `"KeyError"`, `"httpx2.HTTPStatusError"`."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One `@on(...)` line, checked. None means: what the settings say."""

    patterns: tuple[str, ...]
    name: str | None
    timeout_seconds: float | None
    key: str | None
    on_retry: OnRetry | None
    concurrency: int | None
    rate: Rate | None
    retry: RetryOptions
    file: str
    line: int


def on(
    pattern: str,
    *patterns: str,
    attempts: int | None = None,
    timeout: Duration | None = None,
    key: str | None = None,
    on_retry: OnRetry | None = None,
    name: str | None = None,
    concurrency: int | None = None,
    rate: str | None = None,
    schedule: Sequence[Duration] | None = None,
    backoff: BackoffOptions | None = None,
    jitter: float | None = None,
    max_age: Duration | None = None,
    final: FinalError | Sequence[FinalError] = (),
    **unknown: Never,
) -> Callable[[Func], Func]:
    """Register a function for every event whose type fits one of the patterns.

    A `*` in a pattern stands for any run of characters, dots too: `data_source.*`, `*.failed`,
    `*`. The function comes back unchanged; it is found when its file is loaded. Put `@on` on top
    of any other decorator.

    attempts: runs before the delivery is dead. timeout: how long one run may take.
    key: a dotted path into the body (`data.data_source_id`); events with an equal value there
    are handled in order, one at a time. on_retry: while one waits for a retry, "hold" keeps
    the later ones of its key back (so it is by default), and "step_aside" lets them run.
    name: instead of `<file>.<function>`.
    concurrency: how many runs may be under way at once. rate: how many may begin in a time,
    `"1/s"`, `"30/m burst 5"`.
    schedule: the waits between attempts; or backoff: waits that grow, such as
    `{"first": "5s", "factor": 2, "cap": "1h"}`. jitter: how far a wait may be from that, as a
    fraction of it. max_age: how long after the event no retry comes any more.
    final: the errors after which none can help.

    Raises HandlerLoadError, with file and line, for anything that it can't use.
    """
    frame = sys._getframe(1)
    file, line = frame.f_code.co_filename, frame.f_lineno
    registered = frame.f_globals
    try:
        for word in unknown:
            _refuse_unknown(word, _OPTIONS)
        registration = Registration(
            patterns=tuple(_pattern(each) for each in (pattern, *patterns)),
            name=_name(name),
            timeout_seconds=None if timeout is None else _seconds("timeout", timeout),
            key=_key(key),
            on_retry=_on_retry(on_retry, key),
            concurrency=_count("concurrency", concurrency),
            rate=_rate(rate),
            retry=RetryOptions(
                attempts=_count("attempts", attempts),
                waits=_waits(schedule, backoff),
                jitter=_jitter(jitter),
                max_age_seconds=None if max_age is None else _seconds("max_age", max_age),
                final=_final(final),
            ),
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


def _refuse_unknown(word: str, known: Sequence[str], *, of: str = "") -> None:
    if word not in known:
        near = difflib.get_close_matches(word, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
        raise ValueError(f"{of}there is no option {word!r}; {hint}")


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


def _waits(schedule: Sequence[Duration] | None, backoff: BackoffOptions | None) -> Waits | None:
    if schedule is not None and backoff is not None:
        raise ValueError("schedule and backoff both say how long to wait; give one of them")
    return _schedule(schedule) if backoff is None else _backoff(backoff)


def _schedule(waits: Sequence[Duration] | None) -> tuple[float, ...] | None:
    if waits is None:
        return None
    if isinstance(waits, str) or not waits:
        raise ValueError('schedule: give a list of durations, like ["5s", "30s", "2m"]')
    return tuple(_seconds("schedule", wait) for wait in waits)


def _backoff(options: Any) -> Backoff:
    example = '{"first": "5s", "factor": 2, "cap": "1h"}'
    if not isinstance(options, dict) or "first" not in options:
        raise ValueError(f"backoff = {options!r}: give its first wait, like {example}")
    for word in options:
        _refuse_unknown(word, ("first", "factor", "cap"), of="backoff: ")
    factor = options.get("factor", Backoff.factor)
    if type(factor) not in (int, float):
        raise ValueError(f"backoff: factor = {factor!r}: give a number, 1 or more")
    cap = options.get("cap")
    return Backoff(
        first_seconds=_seconds("backoff: first", options["first"]),
        factor=factor,
        cap_seconds=Backoff.cap_seconds if cap is None else _seconds("backoff: cap", cap),
    )


def _jitter(jitter: Any) -> float | None:
    if jitter is None:
        return None
    if type(jitter) in (int, float) and 0 <= jitter <= 1:
        return float(jitter)
    raise ValueError(f"jitter = {jitter!r}: give a fraction of the wait, 0 to 1")


def _final(final: FinalError | Sequence[FinalError]) -> tuple[ErrorMark, ...]:
    marks = (final,) if isinstance(final, str | type) else tuple(final)
    for mark in marks:
        is_class = isinstance(mark, type) and issubclass(mark, BaseException)
        if not is_class and not (isinstance(mark, str) and re.fullmatch(r"\w+(\.\w+)*", mark)):
            raise ValueError(
                f"final: {mark!r} is no error; give exception classes, or their names, like "
                '(ValueError, "httpx2.HTTPStatusError")'
            )
    return marks


def _key(key: Any) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not re.fullmatch(r"[^.\s/]+(\.[^.\s/]+)*", key):
        raise ValueError(
            f'key = {key!r}: give a dotted path into the body, like "data.data_source_id"'
        )
    return key


def _on_retry(on_retry: Any, key: Any) -> OnRetry | None:
    if on_retry is None:
        return None
    if on_retry not in get_args(OnRetry):
        raise ValueError(f'on_retry = {on_retry!r}: give "hold" or "step_aside"')
    if key is None:
        raise ValueError("on_retry says what happens to a key; give `key` as well")
    chosen: OnRetry = on_retry
    return chosen
