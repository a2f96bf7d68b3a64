"""One test body for both clients: a face makes the client and runs calls on it."""

import asyncio
from collections.abc import Callable
from typing import Any

from client_server import FakeTime

from claribi import AsyncClariBI, AsyncPages, ClariBI


class SyncFace:
    """Runs calls on a `ClariBI`."""

    name = "sync"

    def __init__(self) -> None:
        self.time = FakeTime()
        self._clients: list[ClariBI] = []

    def client(self, **settings: Any) -> ClariBI:
        settings = {"clock": self.time, "sleep": self.time.sleep} | settings
        client = ClariBI(**settings)
        self._clients.append(client)
        return client

    def run(self, call: Callable[[], Any]) -> Any:
        """The call's result; a list is walked to its end."""
        result = call()
        return list(result) if hasattr(result, "__iter__") and hasattr(result, "page") else result

    def close(self) -> None:
        for client in self._clients:
            client.close()


class AsyncFace:
    """Runs calls on an `AsyncClariBI`, all in one event loop."""

    name = "async"

    def __init__(self) -> None:
        self.time = FakeTime()
        self._runner = asyncio.Runner()
        self._clients: list[AsyncClariBI] = []

    def client(self, **settings: Any) -> AsyncClariBI:
        settings = {"clock": self.time, "sleep": self.time.sleep_async} | settings
        client = AsyncClariBI(**settings)
        self._clients.append(client)
        return client

    def run(self, call: Callable[[], Any]) -> Any:
        """The call's result; a list is walked to its end."""
        return self._runner.run(self._await(call))

    async def _await(self, call: Callable[[], Any]) -> Any:
        result = call()
        if isinstance(result, AsyncPages) or hasattr(result, "__anext__"):
            return [item async for item in result]
        return await result if hasattr(result, "__await__") else result

    def close(self) -> None:
        for client in self._clients:
            self._runner.run(client.aclose())
        self._runner.close()


Face = SyncFace | AsyncFace
