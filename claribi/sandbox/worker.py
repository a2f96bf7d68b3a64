"""The one loop that makes things happen in time: jobs end, webhooks go out, the file is saved."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from claribi.sandbox import jobs, state_file
from claribi.sandbox.records import Delivery
from claribi.sandbox.sender import Sender
from claribi.sandbox.world import World


class Worker:
    """Looks at the state whenever the bell rings or something falls due."""

    def __init__(self, world: World, state_path: Path | None) -> None:
        self.world = world
        self.state_path = state_path
        self.is_running = False
        self._sending: set[int] = set()
        self._saved = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run until the block ends; what was cut off stays pending in the state."""
        sender = Sender(self.world)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run, group, sender, name="sandbox worker")
                self.is_running = True
                yield
                group.cancel_scope.cancel()
        finally:
            self.is_running = False
            await sender.close()
            if self.state_path is not None:
                state_file.save(self.state_path, self._text())

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
        if self.state_path is None:
            return
        text = self._text()
        if text != self._saved:
            await anyio.to_thread.run_sync(state_file.save, self.state_path, text)
            self._saved = text

    def _text(self) -> str:
        self.world.state.offset_seconds = self.world.clock.offset_seconds
        return self.world.state.model_dump_json()
