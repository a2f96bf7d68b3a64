"""The one loop that makes things happen in time: jobs end, webhooks go out, the file is saved."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from claribi.sandbox import jobs, state_file
from claribi.sandbox.records import Delivery
from claribi.sandbox.sender import Sender
from claribi.sandbox.world import World

log = logging.getLogger(__name__)

T = TypeVar("T")
ANSWER_SECONDS = 30.0


class Worker:
    """Looks at the state whenever the bell rings or something falls due.

    While it runs, the state is only changed in the thread of its event loop.
    """

    def __init__(self, world: World, state_path: Path | None) -> None:
        self.world = world
        self.state_path = state_path
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        """The event loop and the thread that it runs in."""
        self._sending: set[int] = set()
        self._saved = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run until the block ends; what was cut off stays pending in the state."""
        sender = Sender(self.world)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run, group, sender, name="sandbox worker")
                self._home = asyncio.get_running_loop(), threading.get_ident()
                yield
                group.cancel_scope.cancel()
        finally:
            self._home = None
            with anyio.CancelScope(shield=True):
                await sender.close()
                await self._save()

    @property
    def is_running(self) -> bool:
        """Whether jobs end and webhooks go out."""
        return self._home is not None

    def do(self, action: Callable[[], T]) -> T:
        """The action's result; it runs in the worker's thread, whichever thread calls."""
        home = self._home
        if home is None or home[1] == threading.get_ident():
            return action()
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except Exception as error:
                future.set_exception(error)

        home[0].call_soon_threadsafe(run)
        return future.result(ANSWER_SECONDS)

    async def _run(self, group: anyio.abc.TaskGroup, sender: Sender) -> None:
        while True:
            ticket = self.world.bell.ticket
            jobs.settle(self.world)
            for delivery in self._due():
                self._sending.add(delivery.id)
                group.start_soon(self._send, sender, delivery, name=f"webhook {delivery.id}")
            await self._save()
            await self.world.bell.wait(ticket, self._seconds_to_next())

    async def _send(self, sender: Sender, delivery: Delivery) -> None:
        try:
            await sender.attempt(delivery)
        finally:
            self._sending.discard(delivery.id)
            self.world.bell.ring()

    def _due(self) -> list[Delivery]:
        now = self.world.clock.now()
        return [one for one in self._waiting() if one.due_at <= now]

    def _waiting(self) -> list[Delivery]:
        return [
            one
            for one in self.world.state.deliveries.values()
            if one.status == "pending" and one.id not in self._sending
        ]

    def _seconds_to_next(self) -> float | None:
        moments = [job.ends_at for job in self.world.state.jobs]
        moments += [delivery.due_at for delivery in self._waiting()]
        return max(0.0, min(moments) - self.world.clock.now()) if moments else None

    async def _save(self) -> None:
        """A file that can't be written is tried again at the next change."""
        if self.state_path is None:
            return
        text = self._text()
        if text == self._saved:
            return
        try:
            await anyio.to_thread.run_sync(state_file.save, self.state_path, text)
            self._saved = text
        except OSError as error:
            log.warning("sandbox.not_saved path=%s error=%s", self.state_path, error)

    def _text(self) -> str:
        self.world.state.offset_seconds = self.world.clock.offset_seconds
        return self.world.state.model_dump_json()
