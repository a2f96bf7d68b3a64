"""One daemon thread that does a target's blocking work, one piece at a time."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Worker:
    """Runs blocking functions in a thread of its own, started on first use.

    A daemon thread on purpose: a send that hangs must never keep the process from exiting, as
    the threads of `asyncio.to_thread` and of Apprise's own pool do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Queue `function`; the future gets its result in the running loop.

        Cancelling the future stops nobody: the function runs on, its result is dropped. Raises
        RuntimeError if there is no thread to be had; then nothing was queued.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._thread is None:
            thread = threading.Thread(
                target=_work, args=(self._jobs,), name=self._name, daemon=True
            )
            thread.start()
            self._thread = thread
        self._jobs.put((function, loop, future))
        return future

    def stop(self) -> None:
        """Let the thread end after what it is doing now. Does not wait for it.

        What is submitted later gets a new thread, until that is stopped too.
        """
        self._jobs.put(None)
        self._jobs, self._thread = queue.SimpleQueue(), None


def _work(jobs: "queue.SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        _run(*job)
        del job  # or an idle worker would keep its last message, attachments and all


def _run(
    function: Callable[[], Any], loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]"
) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        result = function()
    except BaseException as caught:  # The thread must outlive any job.
        error = caught
    # The loop may be closed by now: then nobody is left to be told.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.set_exception(RuntimeError(f"the worker was hit by {type(error).__name__}"))
