"""When a delivery that failed is tried again, and when it is given up. Pure functions.

One kind of policy serves handlers, channels and sources. Moments are Unix time, spans seconds.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from receiver.durations import format_duration

MAX_ASKED_SECONDS = 3600.0 * 24
"""A wait that a handler or a target asks for is obeyed up to this."""

DEFAULT_SCHEDULE_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 21600.0, 43200.0)

ErrorMark = int | str | type[BaseException]
"""An error as a policy names it: an HTTP status, a class, or a class's name, dotted or bare."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Waits that grow by `factor`, from the first one up to a cap.

    >>> backoff = Backoff(first_seconds=5, factor=3, cap_seconds=600)
    >>> [backoff.wait(tries) for tries in (1, 2, 3, 4, 5, 6, 10_000)]
    [5, 15, 45, 135, 405, 600, 600]
    """

    first_seconds: float
    factor: float = 2.0
    cap_seconds: float = 43_200.0

    def __post_init__(self) -> None:
        """Raises ValueError for waits that could not grow."""
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"backoff: factor = {self.factor:g}: give 1 or more")
        if not 0 < self.first_seconds <= self.cap_seconds:
            raise ValueError(
                f"backoff: first = {_shown(self.first_seconds)} and "
                f"cap = {_shown(self.cap_seconds)}: give a first wait above 0, "
                "and a cap that is not below it"
            )

    def wait(self, tries: int) -> float:
        """Seconds from the failure of that many tries to the next."""
        try:
            return min(self.cap_seconds, self.first_seconds * self.factor ** (tries - 1))
        except OverflowError:
            return self.cap_seconds


Waits = tuple[float, ...] | Backoff
"""The waits between tries: a schedule whose last one repeats, or a backoff."""


class GiveUp(NamedTuple):
    """No retry: the delivery is dead."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a delivery is tried, when, for how long, and which errors end it at once."""

    attempts: int = 8
    waits: Waits = DEFAULT_SCHEDULE_SECONDS
    jitter: float = 0.5
    """How far a wait may be from what `waits` says, as a fraction of it, 0 to 1."""
    max_age_seconds: float | None = None
    """No retry comes later than that after the delivery was made or revived by hand."""
    final: tuple[ErrorMark, ...] = ()
    """Errors after which no retry can help."""
    retry_on: tuple[ErrorMark, ...] = ()
    """Errors that are tried again although they would be final."""

    def delay(self, tries: int, chance: float) -> float:
        """Seconds until the next try, after that many have failed; `chance` is even in 0 to 1.

        What `waits` says is the mean, so that a burst of failures spreads out. The default is
        from half of it to one and a half: a burst spreads over a time as long as the wait itself,
        and yet no wait is so short that the attempt is wasted. The first waits by default, at
        their shortest, mean and longest:

        >>> [[RetryPolicy().delay(tries, chance) for tries in (1, 2, 3)] for chance in (0, 0.5, 1)]
        [[2.5, 15.0, 60.0], [5.0, 30.0, 120.0], [7.5, 45.0, 180.0]]

        Without jitter, with full jitter, and past the schedule's end:

        >>> [RetryPolicy(jitter=0).delay(1, chance) for chance in (0, 1)]
        [5.0, 5.0]
        >>> [RetryPolicy(jitter=1).delay(1, chance) for chance in (0, 1)]
        [0.0, 10.0]
        >>> RetryPolicy().delay(99, 0.5)
        43200.0
        """
        if isinstance(self.waits, Backoff):
            mean = self.waits.wait(tries)
        else:
            mean = self.waits[min(tries, len(self.waits)) - 1]
        return mean * (1 - self.jitter + 2 * self.jitter * chance)

    def next_try(
        self,
        *,
        tries: int,
        most: int,
        since: float,
        now: float,
        chance: float,
        asked_seconds: float | None = None,
    ) -> float | GiveUp:
        """When the next try is due, now that `tries` of at most `most` have failed.

        `since` is when the delivery was made or revived by hand. `asked_seconds` is the wait
        that the handler or target asked for; it replaces the policy's, but for `max_age`.

        >>> policy = RetryPolicy(max_age_seconds=60, jitter=0)
        >>> policy.next_try(tries=1, most=8, since=1000, now=1001, chance=0.5)
        1006.0
        >>> policy.next_try(tries=8, most=8, since=1000, now=1001, chance=0.5).reason
        'failed at attempt 8 of 8'
        >>> policy.next_try(tries=1, most=8, since=1000, now=1056, chance=0.5).reason
        'failed at attempt 1 of 8, and a retry would come after max_age (1m)'
        """
        failed = f"failed at attempt {tries} of {most}"
        if tries >= most:
            return GiveUp(failed)
        if asked_seconds is None or math.isnan(asked_seconds):
            due = now + self.delay(tries, chance)
        else:
            due = now + min(max(asked_seconds, 0.0), MAX_ASKED_SECONDS)
        if self.is_too_old(due, since):
            assert self.max_age_seconds is not None, "without it nothing is too old"
            age = _shown(self.max_age_seconds)
            return GiveUp(f"{failed}, and a retry would come after max_age ({age})")
        return due

    def is_too_old(self, moment: float, since: float) -> bool:
        """Whether a retry at that moment would come too late."""
        return self.max_age_seconds is not None and moment > since + self.max_age_seconds

    def is_final(self, error: BaseException) -> bool:
        """Whether what a handler raised is among `final`; a group is, if all in it are.

        >>> policy = RetryPolicy(final=(LookupError, "UnicodeError", "json.JSONDecodeError"))
        >>> [policy.is_final(error) for error in (KeyError(), ValueError())]
        [True, False]
        >>> import json
        >>> try: json.loads("x")
        ... except ValueError as error: policy.is_final(error)  # json.decoder.JSONDecodeError
        True
        """
        return bool(self.final) and all(
            any(_is_error(mark, leaf) for mark in self.final) for leaf in _leaves(error)
        )


@dataclass(frozen=True, kw_only=True)
class RetryOptions:
    """A policy of which any part may be unset."""

    attempts: int | None = None
    waits: Waits | None = None
    jitter: float | None = None
    max_age_seconds: float | None = None
    final: tuple[ErrorMark, ...] = ()
    retry_on: tuple[ErrorMark, ...] = ()

    def over(self, base: RetryPolicy) -> RetryPolicy:
        """The policy that holds: each part that is unset here is the base's.

        >>> RetryOptions(attempts=3).over(RetryPolicy(attempts=5, jitter=0)).jitter
        0
        """
        return RetryPolicy(
            attempts=base.attempts if self.attempts is None else self.attempts,
            waits=base.waits if self.waits is None else self.waits,
            jitter=base.jitter if self.jitter is None else self.jitter,
            max_age_seconds=(
                base.max_age_seconds if self.max_age_seconds is None else self.max_age_seconds
            ),
            final=self.final or base.final,
            retry_on=self.retry_on or base.retry_on,
        )


def names_result(marks: Iterable[ErrorMark], error_class: str, status_code: int | None) -> bool:
    """Whether one of the marks is a target's failure: its status, or the word for its cause.

    >>> seen = ("HTTPStatus", 404), ("SSLError", None), ("HTTPStatus", 500)
    >>> [names_result((404, "SSLError"), *each) for each in seen]
    [True, True, False]
    """
    return any(mark in (status_code, error_class) for mark in marks)


def _is_error(mark: ErrorMark, error: BaseException) -> bool:
    if isinstance(mark, type):
        return isinstance(error, mark)
    return any(_is_named(str(mark), kind) for kind in type(error).__mro__)


def _is_named(name: str, kind: type) -> bool:
    """Packages show their classes higher up than they define them: `json.JSONDecodeError`."""
    package, _, bare = name.rpartition(".")
    if bare != kind.__name__:
        return False
    return not package or f"{kind.__module__}.".startswith(f"{package}.")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, at any depth; any other is its own only leaf."""
    left = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
        else:
            yield one


def _shown(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))
