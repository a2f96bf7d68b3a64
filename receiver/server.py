"""Runs the application under uvicorn, from start to a drained stop."""

import asyncio
import contextlib
import ctypes
import errno
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import structlog
import uvicorn
from starlette.types import ASGIApp

from receiver.app import Application
from receiver.connections import Connection, Patrol
from receiver.reload import Reloader

log = structlog.get_logger("receiver.server")

BACKLOG = 2048
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""From glibc's malloc.h."""
_LARGE_BYTES = 262_144
_FIRST_PASSED_FD = 3


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        lifespan="off",
        log_config=None,
        log_level="error",  # it warns of every request that is not HTTP
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        backlog=BACKLOG,
    )


class ConsoleServer(uvicorn.Server):
    """Serves the console on a socket of its own, in the loop of a `Server`, which starts and stops
    it."""

    def __init__(self, console: ASGIApp, listener: socket.socket) -> None:
        super().__init__(_config(console))
        self._listeners = [listener]

    async def begin(self) -> None:
        """Accept."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(self._listeners)

    async def end(self, within_seconds: float) -> None:
        """Stop accepting, and answer what is in flight."""
        self.config.timeout_graceful_shutdown = within_seconds  # type: ignore[assignment]
        await self.shutdown(self._listeners)


class Server(uvicorn.Server):
    """uvicorn, which starts and stops our application itself.

    Not by the ASGI lifespan: there, an error at the start is a traceback in the log, and nothing
    can hurry a stop.
    """

    def __init__(
        self,
        app: Application,
        *,
        drain_seconds: float,
        read_timeout_seconds: float = 10.0,
        on_ready: Callable[[], None] | None = None,
        reloader: Reloader | None = None,
        watches_files: bool = False,
        console: ConsoleServer | None = None,
    ) -> None:
        """`reloader` reloads at SIGHUP, and when files change if they are watched."""
        self.app = app
        self._reloader = reloader
        self._watches_files = watches_files
        self._drain_seconds = drain_seconds
        self._patrol = Patrol(read_timeout_seconds)
        self._on_ready = on_ready
        self._console = console
        super().__init__(_config(app))

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
        if self._reloader is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
        try:
            yield
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks; the second one insists."""
        if self.should_exit:
            # As a crash, which loses nothing: the next start takes up what was running.
            log.warning("server.forced", signal=signal.Signals(sig).name)
            os._exit(1)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept, then say so. Raises what the start raises."""
        _tune_allocator()
        await self.app.start()
        await super().startup(sockets)
        if self._console is not None:
            await self._console.begin()
        _tune_interpreter()
        if self._reloader is not None:
            self._reloader.start(watches_files=self._watches_files)
        if self._on_ready is not None:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if counter % 10 == 0:
            # uvicorn names the protocols of its own in the type of the set.
            for server in filter(None, (self, self._console)):
                self._patrol.walk(server.server_state.connections, time.monotonic())  # type: ignore[arg-type]
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what is in flight, then drain the application.

        All of it within the drain timeout: requests have half of it at most, and running work
        has what they leave.
        """
        begun = time.monotonic()
        self.app.ingress.is_draining = True
        if self._reloader is not None:
            await self._reloader.stop()
        self.config.timeout_graceful_shutdown = self._drain_seconds / 2  # type: ignore[assignment]
        stops = [super().shutdown(sockets)]
        if self._console is not None:
            stops.append(self._console.end(self._drain_seconds / 2))
        await asyncio.gather(*stops)
        if not self.force_exit:
            await self.app.stop(begun + self._drain_seconds - time.monotonic())


def _tune_allocator() -> None:
    """Take memory from two arenas, and give back what is large; before the first thread starts.

    glibc gives each thread its own, of 64 MiB of addresses: under a limit of those (RLIMIT_AS) a
    burst of large bodies left the store's readers without any, for good. And let what is large be
    mapped by itself, which is given back when it is freed: glibc would take such a burst for the
    usual, and serve it from heaps that never shrink, until no thread could be started any more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _tune_interpreter() -> None:
    """Settle the garbage collector.

    What was loaded at start stays for good: a full collection over its 200,000 objects stops
    the loop for tens of milliseconds, and the default threshold asks for one every few hundred
    requests.
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


def inherited_listener() -> socket.socket | None:
    """The socket that systemd has opened for this process (sd_listen_fds(3)), if it has.

    Raises OSError if what it passed is no listening socket. With it, a restart refuses no
    connection: they wait in the socket until the new process takes them.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    listener = socket.socket(fileno=_FIRST_PASSED_FD)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, "what LISTEN_FDS passes is no listening socket")
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
