"""Real servers for the client's tests: uvicorn in a thread, and a record of what reached it."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claribi.sandbox import Sandbox


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    """Relative to `/api/`."""
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Recorder:
    """An ASGI application that notes each request and passes it on."""

    app: ASGIApp
    seen: list[Seen] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        one = Seen(
            method=scope["method"],
            path=scope["path"].removeprefix("/api/"),
            query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
            headers={k.decode(): v.decode() for k, v in scope["headers"]},
        )
        self.seen.append(one)

        async def noting() -> Message:
            message = await receive()
            one.body += message.get("body", b"")
            return message

        await self.app(scope, noting, send)


@contextmanager
def serve(app: ASGIApp, listener: socket.socket | None = None) -> Iterator[str]:
    """Serves until the end of the block; gives the API's base URL."""
    with nullcontext(listener) if listener is not None else listening() as bound:
        config = uvicorn.Config(app, log_level="critical", lifespan="on", access_log=False)
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            assert server.is_up.wait(30), "uvicorn did not start"
            yield base_url(bound)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A bound socket on a free port of this machine; nobody listens on it yet."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield one


def base_url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api/"


class FakeTime:
    """A clock that only moves when somebody sleeps on it, or by `advance`."""

    def __init__(self, unix: float | None = None) -> None:
        self.slept: list[float] = []
        self._real = unix is None
        self._unix = unix or 0.0
        self._moved = 0.0

    def time(self) -> float:
        import time  # noqa: PLC0415 - the only place that asks for the real time

        return (time.time() if self._real else self._unix) + self._moved

    def monotonic(self) -> float:
        return 1000.0 + self._moved

    def advance(self, seconds: float) -> None:
        self._moved += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


@dataclass
class Stage:
    """A sandbox that is served, and what reached it."""

    base_url: str
    sandbox: Sandbox
    seen: list[Seen]

    @property
    def key(self) -> dict[str, Any]:
        """Settings of a client with an administrator's API key."""
        return {"base_url": self.base_url, "api_key": self.sandbox.api_key}

    @property
    def login(self) -> dict[str, Any]:
        """Settings of a client with an administrator's password."""
        return {
            "base_url": self.base_url,
            "email": "user@example.com",
            "password": "your-password",
        }
