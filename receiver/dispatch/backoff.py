"""When a failed delivery is tried again. Pure functions."""

from collections.abc import Sequence

MAX_RETRY_AFTER_SECONDS = 3600.0 * 24
"""A wait asked for by a handler or a target is obeyed up to this."""


def retry_delay(schedule_seconds: Sequence[float], tries: int, chance: float) -> float:
    """Seconds until the next attempt, after `tries` attempts have failed.

    The schedule's entry is the mean: the wait is drawn evenly from half of it to one and a half
    of it (`chance` is uniform in 0 to 1), so that a burst of failures spreads over a time as
    long as the wait itself, and yet no wait is so short that the attempt is wasted. Past the
    schedule's end its last entry repeats. The default schedule:

    >>> [retry_delay([5, 30, 120, 600, 1800, 7200, 21600, 43200], n, 0.5) for n in (1, 2, 3, 8)]
    [5.0, 30.0, 120.0, 43200.0]
    >>> retry_delay([5, 30], 1, 0.0), retry_delay([5, 30], 9, 1.0)
    (2.5, 45.0)
    """
    mean = schedule_seconds[min(tries, len(schedule_seconds)) - 1]
    return mean * (0.5 + chance)
