"""A target's other side that behaves as its path says: every way not to answer properly."""

import gzip
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class RudeSink:
    """Notes each message that reached it whole, by path and title, then answers or does not."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.received: dict[str, Counter[str]] = {}
        self.moments: dict[str, list[float]] = {}
        """By path: when each came, on `time.monotonic()`."""
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def address(self) -> str:
        """As it stands in a URL."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """End every conversation."""
        self._over.set()
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        self._accepting.join()
        self._listener.close()
        for each in self._threads:
            each.join()

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, suppress(OSError, ValueError):
            path, body = _read_request(connection)
            with self._lock:
                self.moments.setdefault(path, []).append(time.monotonic())
                if body:
                    title = json.loads(body)["title"]
                    self.received.setdefault(path, Counter())[title] += 1
            BEHAVIOURS.get(path, _answer(b"200 OK"))(self, connection)

    # --- ways to behave; each is a function of the connection ---------------------------------

    def reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def half_a_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.")

    def flood(self, connection: socket.socket) -> None:
        self._repeat(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 40)

    def hang(self, connection: socket.socket) -> None:
        connection.recv(1)  # until the other side has had enough

    def slow_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._repeat(connection, b"a", pause=0.2)

    def slow_body(self, connection: socket.socket) -> None:
        connection.sendall(_HEAD + b"Content-Length: 100000\r\n\r\n")
        self._repeat(connection, b"a", pause=0.2)

    def huge(self, connection: socket.socket) -> None:
        connection.sendall(_HEAD + b"Content-Length: 1073741824\r\n\r\n")
        self._repeat(connection, b"x" * 65536)

    def huge_failure(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 Broken\r\nContent-Length: 1073741824\r\n\r\n")
        self._repeat(connection, b"x" * 65536)

    def bad_gzip(self, connection: socket.socket) -> None:
        connection.sendall(_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip")

    def gzip_bomb(self, connection: socket.socket) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        connection.sendall(b"HTTP/1.1 502 Broken\r\nContent-Encoding: gzip\r\nContent-Length: %d"
                           b"\r\n\r\n%b" % (len(bomb), bomb))  # fmt: skip

    def redirect_here(self, connection: socket.socket) -> None:
        _answer(b"302 Found", b"Location: http://%b/landed" % self.address.encode())(
            self, connection
        )

    def later_by_date(self, connection: socket.socket) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
        _answer(b"429 Slow Down", b"Retry-After: " + date.encode())(self, connection)

    def _repeat(self, connection: socket.socket, data: bytes, *, pause: float = 0.0) -> None:
        while not self._over.wait(pause):
            connection.sendall(data)


def _read_request(connection: socket.socket) -> tuple[str, bytes]:
    """Its path, and its body if that came whole; raises ValueError for what is no HTTP."""
    with connection.makefile("rb") as lines:
        method, path, _ = lines.readline(65536).decode("ascii").split(" ")
        if method not in ("POST", "GET"):
            raise ValueError(method)
        length = 0
        while (line := lines.readline(65536)) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = lines.read(length)
    return path, body if len(body) == length else b""


Behaviour = Callable[[RudeSink, socket.socket], None]


def _answer(status: bytes, *headers: bytes) -> Behaviour:
    def behave(_sink: RudeSink, connection: socket.socket) -> None:
        lines = [b"HTTP/1.1 " + status, b"Content-Length: 0", b"Connection: close", *headers]
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")

    return behave


BEHAVIOURS: dict[str, Behaviour] = {
    "/reset": RudeSink.reset,
    "/half_a_head": RudeSink.half_a_head,
    "/flood": RudeSink.flood,
    "/hang": RudeSink.hang,
    "/slow_head": RudeSink.slow_head,
    "/slow_body": RudeSink.slow_body,
    "/huge": RudeSink.huge,
    "/huge_failure": RudeSink.huge_failure,
    "/bad_gzip": RudeSink.bad_gzip,
    "/gzip_bomb": RudeSink.gzip_bomb,
    "/broken": _answer(b"500 Broken"),
    "/redirect_to_metadata": _answer(b"301 Moved", b"Location: http://169.254.169.254/latest"),
    "/redirect_here": RudeSink.redirect_here,
    "/later_by_seconds": _answer(b"429 Slow Down", b"Retry-After: 2"),
    "/later_by_date": RudeSink.later_by_date,
    "/later_by_garbage": _answer(b"429 Slow Down", b"Retry-After: soon"),
    "/much_later": _answer(b"429 Slow Down", b"Retry-After: 1000000000"),
}


@contextmanager
def being_rude() -> Iterator[RudeSink]:
    """A sink, and its end whatever happens."""
    sink = RudeSink()
    try:
        yield sink
    finally:
        sink.close()
