"""Group commit: the one thread that writes, and the transactions that callers share.

While one transaction commits, further operations gather; the next transaction takes them all.
Under load a commit, and its one fsync, is so shared by every request then in flight.
"""

import asyncio
import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from receiver.errors import StoreUnavailable

MAX_BATCH = 1000
"""How many operations one transaction takes at most, so that no caller waits for a long one."""

SWITCH_SECONDS = 0.0005
"""How long a thread waits for the interpreter lock before it asks for it. By default it is 5 ms,
longer than all the requests in flight take: loop and writer would work by turns, never at the same
time. And while the writer waits inside a transaction, no other process can write."""


class Operation(Protocol):
    """Something to write. The writer calls `done` on the loop, after the commit."""

    error: BaseException | None

    def done(self) -> None:
        """Tell whoever waits: `error` is set if the operation was not committed."""


class GroupWriter:
    """Runs operations in batches on a thread of its own.

    `apply(batch)` runs on the thread; it commits the batch and sets each operation's result
    or its `error`. It may raise: then no operation of the batch was committed.
    """

    def __init__(self, apply: Callable[[Sequence[Operation]], None], *, name: str) -> None:
        self._apply = apply
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Start the thread; operations come from the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def put(self, operation: Operation) -> None:
        """Queue an operation. Never blocks; after `stop` it is refused."""
        if self._is_stopped:
            self._refuse([operation])
        else:
            self._queue.put(operation)

    async def stop(self) -> None:
        """Write what is queued, then end the thread; what comes too late is refused."""
        if self._is_stopped or self._loop is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        # No await from here on: whoever comes now finds the writer stopped.
        self._is_stopped = True
        late: list[Operation] = []
        while not self._queue.empty():
            operation = self._queue.get_nowait()
            if operation is not None:
                late.append(operation)
        self._refuse(late)

    def _refuse(self, operations: list[Operation]) -> None:
        for operation in operations:
            operation.error = StoreUnavailable("the store is closed")
        self._tell(operations)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._take()
            try:
                self._apply(batch)
            except BaseException as error:  # a thread's border: the callers get it
                for operation in batch:
                    operation.error = error
            self._tell(batch)

    def _take(self) -> tuple[list[Operation], bool]:
        """Wait for an operation, then take all that gathered; and whether these are the last."""
        batch: list[Operation] = []
        operation = self._queue.get()
        try:
            while operation is not None:
                batch.append(operation)
                if len(batch) == MAX_BATCH:
                    return batch, False
                operation = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _tell(self, batch: list[Operation]) -> None:
        assert self._loop is not None, "start() sets the loop before the thread runs"
        # One hand-over to the loop per batch: waking it costs a system call.
        # A loop that is closed already has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_tell_all, batch)


def _tell_all(batch: list[Operation]) -> None:
    for operation in batch:
        try:
            operation.done()
        except Exception as error:  # one caller's mistake; the others have to hear too
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a callback of the store failed", "exception": error}
            )
