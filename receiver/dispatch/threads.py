"""The threads that sync handlers run in."""

import functools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Call(Future[T]):
    """A call that was submitted. It can be cancelled until a thread has begun it."""

    begun_at: float | None = None
    """On the monotonic clock: when a thread began it; None while it waits for one."""


_REPLACED = 3

_Job = tuple[Call[Any], Callable[[], Any]]


class HandlerThreads(Executor):
    """Runs calls in at most `limit` threads, which are started as they are needed.

    A call that nobody waits for any more is abandoned: its thread, which can't be stopped, is
    replaced by another one, until 3 times `limit` are. So there never are more than 4 times that.

    Daemon threads on purpose: those of ThreadPoolExecutor are joined when the process exits, so
    that one handler that hangs would keep a stopped server from ever ending. `submit`, `abandon`
    and `shutdown` are called from one thread.
    """

    def __init__(self, limit: int, *, name: str = "handler") -> None:
        self.limit = limit
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued = 0
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._started = 0
        self._abandoned: set[Call[Any]] = set()
        self._is_shut = False

    @property
    def is_exhausted(self) -> bool:
        """Whether so many are abandoned that the next one would not be replaced."""
        return len(self._abandoned) >= _REPLACED * self.limit

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Queue a call."""
        if self._is_shut:
            raise RuntimeError("no handler can begin any more: the threads are shut down")
        call: Call[T] = Call()
        with self._lock:
            self._queued += 1
            try:
                self._start_if_needed()
            except RuntimeError:
                self._queued -= 1
                raise
        self._jobs.put((call, functools.partial(fn, *args, **kwargs)))
        return call

    def abandon(self, call: Call[Any]) -> None:
        """Wait no longer for a call that is under way, and let another thread take its place."""
        with self._lock:
            if not call.done():
                self._abandoned.add(call)
                self._start_if_needed()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, at once or after what is queued; `wait` for that if asked."""
        self._is_shut = True
        if cancel_futures:
            self._cancel_queued()
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._jobs.put(None)
        if wait:
            for thread in threads:
                thread.join()

    def _cancel_queued(self) -> None:
        try:
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job[0].cancel()
        except queue.Empty:
            pass

    def _start_if_needed(self) -> None:
        """One more thread, if a call would wait without need; with the lock held.

        Raises RuntimeError if none is to be had, and there is none that could take up the call.
        """
        if self._queued <= self._idle or self._unreplaced >= self.limit:
            return
        self._started += 1
        thread = threading.Thread(
            target=self._work, name=f"{self._name}-{self._started}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # short of memory, or of threads
            if not self._threads:
                raise
            return
        self._threads.append(thread)
        self._idle += 1

    @property
    def _unreplaced(self) -> int:
        """How many threads there are, without those that others stand in for."""
        return len(self._threads) - min(len(self._abandoned), _REPLACED * self.limit)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._queued -= 1
                self._idle -= 1
            _run(*job)
            with self._lock:
                self._abandoned.discard(job[0])
                if self._unreplaced > self.limit:
                    self._threads.remove(threading.current_thread())
                    return
                self._idle += 1
            del job  # or an idle thread would keep its last event


def _run(call: Call[Any], function: Callable[[], Any]) -> None:
    if not call.set_running_or_notify_cancel():
        return
    call.begun_at = time.monotonic()
    try:
        result = function()
    except BaseException as error:  # the thread must outlive any handler
        call.set_exception(error)
    else:
        call.set_result(result)
