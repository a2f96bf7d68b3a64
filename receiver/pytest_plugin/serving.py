"""An ASGI application on a free port, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket

import uvicorn
from starlette.types import ASGIApp

START_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where it is served."""

    origin: str
    """`http://127.0.0.1:PORT`."""
    loop: asyncio.AbstractEventLoop
    """Its own, in its own thread."""


class _Server(uvicorn.Server):
    """Tells its loop, and when it listens."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                port=0,
                lifespan="on",
                log_config=None,
                log_level="critical",
                access_log=False,
                ws="none",
            )
        )
        self.is_ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            await super().startup(sockets)
        finally:
            self.is_ready.set()


@contextmanager
def serving(app: ASGIApp, name: str) -> Iterator[Served]:
    """Serve it until the end of the block, its lifespan included."""
    server = _Server(app)
    thread = threading.Thread(target=server.run, name=name, daemon=True)
    thread.start()
    try:
        is_ready = server.is_ready.wait(START_SECONDS)
        if not is_ready or not server.started or server.loop is None:
            raise RuntimeError(f"{name} did not start: see what it wrote")
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield Served(origin=f"http://{host}:{port}", loop=server.loop)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
