"""Waiting for a long task: looks at its resource from time to time, or when a webhook wakes it.

There is no endpoint for a `task_id`, so the resource itself is polled. A plan allows about 1,000
calls an hour: the looks are 5 s apart at first and 30 s at last.
"""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import TypeVar

from claribi.engine import Shared
from claribi.errors import (
    ConfigurationError,
    RateLimitError,
    ServerError,
    TaskFailedError,
    TransportError,
    WaitTimeoutError,
)
from claribi.waker import News, Subject, Watch

T = TypeVar("T")

FIRST_POLL_SECONDS = 5.0
LAST_POLL_SECONDS = 30.0
POLL_GROWTH = 1.5
DEFAULT_WAIT_SECONDS = 600.0

Judge = Callable[[T, News | None], bool]
"""Whether the resource shows that its task has ended well; raises TaskFailedError if badly."""


async def wait_until_done(
    shared: Shared,
    subject: Subject,
    look: Callable[[], Awaitable[T]],
    is_done: Judge[T],
    within: float | timedelta,
) -> T:
    """The resource, once its task has ended.

    Raises TaskFailedError, or WaitTimeoutError after `within` (seconds, or a timedelta; 0 looks
    once). An outage while waiting is waited out.
    """
    seconds = within.total_seconds() if isinstance(within, timedelta) else within
    if seconds < 0:
        raise ConfigurationError("timeout must be 0 or more")
    ends_at = shared.clock.monotonic() + seconds
    listening = shared.waker.watch(subject) if shared.waker is not None else nullcontext()
    with listening as watch:
        interval, news, last = FIRST_POLL_SECONDS, None, None
        while True:
            pause = interval
            try:
                last = await look()
            except (TransportError, ServerError, RateLimitError) as error:
                pause = max(pause, getattr(error, "retry_after", None) or 0.0)
            else:
                if is_done(last, news):
                    return last
            left = ends_at - shared.clock.monotonic()
            if left <= 0:
                text = f"{subject} is not done within {seconds:g} s; it may still end"
                raise WaitTimeoutError(text, subject=subject, last=last)
            news = await _pause(shared, watch, min(pause, left))
            _raise_if_failed(subject, news)
            # News that the resource doesn't show yet: look again soon.
            is_news = news is not None
            grown = min(LAST_POLL_SECONDS, interval * POLL_GROWTH)
            interval = FIRST_POLL_SECONDS if is_news else grown


async def _pause(shared: Shared, watch: Watch | None, seconds: float) -> News | None:
    if watch is not None:
        return await watch.wait(seconds)
    await shared.io.sleep(seconds)
    return None


def _raise_if_failed(subject: Subject, news: News | None) -> None:
    if news is None or not news.event.endswith("_failed"):
        return
    reasons = (news.data.get(name) for name in ("error", "error_message", "message", "reason"))
    reason = next((text for text in reasons if isinstance(text, str) and text), "no reason given")
    raise TaskFailedError(f"{subject} failed: {reason}", subject=subject, last=dict(news.data))
