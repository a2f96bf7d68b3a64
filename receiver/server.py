"""Runs the application under uvicorn, from start to a drained stop."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import structlog
import uvicorn

from receiver.app import Application

log = structlog.get_logger("receiver.server")

BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn, which tells when it is ready and refuses new work while it drains."""

    def __init__(
        self,
        app: Application,
        *,
        drain_seconds: float,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.app = app
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
                backlog=BACKLOG,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order on the first SIGINT or SIGTERM, at once on the second.

        uvicorn would raise the signal again at the end, so that a clean stop looks like a crash.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are not for servers inside other programs, and tests
            return
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal of either kind insists; uvicorn itself listens to SIGINT only."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so: from now on requests are accepted."""
        await super().startup(sockets)
        _settle_garbage_collector()
        if self.started and self._on_ready is not None:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what is in flight, then drain the engine."""
        self.app.ingress.is_draining = True
        await super().shutdown(sockets)


def _settle_garbage_collector() -> None:
    """What was loaded at start stays for good: never look through it again.

    A full collection over 200,000 start-up objects stops the loop for tens of milliseconds, and
    the default threshold asks for one every few hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError. Made before the server, so that port 0 is known."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:8000`: where the socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run(server: Server, listener: socket.socket) -> int:
    """Serve until a signal asks to stop; the exit status."""
    fatal: list[BaseException] = []

    def stop_at_once(error: BaseException) -> None:
        # What the disk holds is unknown after a failed write: only a fresh start is safe.
        log.critical("store.failed", error=str(error))
        fatal.append(error)
        server.should_exit = True
        server.force_exit = True

    server.app.engine.store.on_fatal = stop_at_once
    await server.serve(sockets=[listener])
    return 1 if fatal or not server.started else 0
