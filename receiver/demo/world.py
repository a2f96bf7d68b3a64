"""The demo's servers: the sandbox, the receiver with its console, and the inbox for messages."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import socket

import uvicorn

from claribi.sandbox import Sandbox
from claribi.sandbox import create_app as create_sandbox
from receiver.app import Application, create_app
from receiver.console.app import Console
from receiver.console.tokens import new_token
from receiver.demo.home import write_home
from receiver.demo.inbox import PATH, Inbox
from receiver.engine import Engine
from receiver.errors import ClarihookError
from receiver.model import Role, Token
from receiver.observe import configure_logging
from receiver.server import ConsoleServer, Server, address_of, listen
from receiver.settings import load_settings

HOST = "127.0.0.1"
SANDBOX_SPEED = 100.0
"""A sync of "2 minutes" takes 1.2 seconds: long enough to be seen, short enough to wait for."""
DRAIN_SECONDS = 3


@dataclass(frozen=True, kw_only=True)
class World:
    """What runs, and where."""

    home: Path
    sandbox: Sandbox
    sandbox_origin: str
    engine: Engine
    receiver_origin: str
    console_origin: str
    token: str
    """Opens the console."""
    inbox: Inbox
    inbox_origin: str
    tasks: tuple[asyncio.Task[None], ...]
    """One per server; none ends before the world is closed, unless its server breaks."""


class _Quiet(uvicorn.Server):
    """A server that writes no log and leaves signals to the demo."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()


class _Receiver(Server):
    """The receiver's own server, which leaves signals to the demo."""

    def __init__(self, app: Application, console: socket) -> None:
        self.is_ready = asyncio.Event()
        super().__init__(
            app,
            drain_seconds=DRAIN_SECONDS,
            on_ready=self.is_ready.set,
            console=ConsoleServer(Console(app.engine), console),
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_world(home: Path, handlers: Mapping[str, str]) -> AsyncIterator[World]:
    """Start everything in `home`; at the end stop it in order, the receiver first."""
    async with AsyncExitStack() as stack:
        *listeners, console = [stack.enter_context(listen(HOST, 0)) for _ in range(4)]
        inbox_at, sandbox_at, receiver_at = map(address_of, listeners)
        secret = write_home(
            home,
            handlers,
            receiver_port=listeners[2].getsockname()[1],
            console=address_of(console),
            sandbox=sandbox_at,
            inbox=f"{inbox_at.replace('http', 'json', 1)}{PATH}",
            api_key=Sandbox.api_key,
        )
        settings = load_settings(home, environ={})  # the machine's CLARIHOOK_… are not for us
        application = create_app(settings)
        configure_logging("warning", redact=application.engine.notifier.redactor)
        inbox = Inbox()
        sandbox_app = create_sandbox(
            speed=SANDBOX_SPEED,
            webhook_urls=[f"{receiver_at}/hooks/claribi"],
            webhook_secret=secret,
        )
        servers: list[_Quiet | _Receiver] = [
            _quiet(inbox.app),
            _quiet(sandbox_app),
            _Receiver(application, console),
        ]
        tasks = [
            await stack.enter_async_context(_serving(server, listener))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        yield World(
            home=home,
            sandbox=sandbox_app.state.sandbox,
            sandbox_origin=sandbox_at,
            engine=application.engine,
            receiver_origin=receiver_at,
            console_origin=address_of(console),
            token=await _make_token(application.engine),
            inbox=inbox,
            inbox_origin=inbox_at,
            tasks=tuple(tasks),
        )


async def _make_token(engine: Engine) -> str:
    """A token for whoever watches the demo."""
    token, digest = new_token()
    new = Token(name="you", role=Role.OPERATOR, created_at=datetime.now(UTC))
    await engine.store.add_token(new, digest)
    return token


def _quiet(app: object) -> _Quiet:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # uvicorn's type has its own kinds of messages
        lifespan="on",
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return _Quiet(config)


@asynccontextmanager
async def _serving(
    server: _Quiet | _Receiver, listener: socket
) -> AsyncIterator[asyncio.Task[None]]:
    """A server in a task of its own, from ready to stopped."""
    task = asyncio.create_task(server.serve(sockets=[listener]), name="demo server")
    ready = asyncio.create_task(server.is_ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not server.started:
            raise ClarihookError("a server of the demo did not start; its log says why")
        yield task
    finally:
        ready.cancel()
        server.should_exit = True
        await task
