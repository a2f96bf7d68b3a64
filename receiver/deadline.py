"""A time limit on a stretch of code, cheap enough for the path of every request."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any


class DeadlineExceeded(Exception):
    """The stretch took too long and was cancelled."""


class Outlived(Exception):
    """The stretch ignored its cancellation and was given up: whatever it says now is void."""


class Deadline:
    """Cancels the code inside after `seconds`, and turns that into DeadlineExceeded.

    What `asyncio.timeout` does, in a third of its time: it can't be moved or nested in itself,
    and it needs no two awaits. Code that swallows the cancellation and returns late has
    exceeded it too; an error that it raises instead is passed on.

    With `give_up`, that is called once `grace_seconds` have passed since the cancellation and
    the code still goes on. However it ends after that, it raises Outlived.
    """

    __slots__ = (
        "_give_up", "_grace_seconds", "_handle", "_has_given_up", "_has_struck", "_seconds", "_task"
    )  # fmt: skip

    def __init__(
        self,
        seconds: float,
        *,
        grace_seconds: float = 0.0,
        give_up: Callable[[], None] | None = None,
    ) -> None:
        self._seconds = seconds
        self._grace_seconds = grace_seconds
        self._give_up = give_up
        self._has_struck = False
        self._has_given_up = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a deadline is for code in a task"
        self._task: asyncio.Task[Any] = task
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(self._seconds, self._strike)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        if self._has_given_up:
            self._task.uncancel()
            raise Outlived from None
        # Cancelled by somebody else as well: then theirs goes first.
        is_ours = self._has_struck and self._task.uncancel() == 0
        if is_ours and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise DeadlineExceeded from None

    def _strike(self) -> None:
        self._has_struck = True
        self._task.cancel()
        if self._give_up is not None:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(self._grace_seconds, self._leave, self._give_up)

    def _leave(self, give_up: Callable[[], None]) -> None:
        self._has_given_up = True
        give_up()
