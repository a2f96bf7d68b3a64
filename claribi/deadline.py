"""The deadline of a blocking call. httpx2 limits each read and write, never all of them together:
a server that sends a byte now and then could hold a thread for as long as it likes.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2


class Deadline:
    """When the call of this thread has to end; a call never changes its thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let the reads and writes of the block end by then."""
        self._local.ends_at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._local.ends_at = None

    def limit(self, timeout: float | None, late: type[Exception]) -> float | None:
        """The shorter of this time-out and the time that is left; raises `late` if none is."""
        ends_at: float | None = getattr(self._local, "ends_at", None)
        if ends_at is None:
            return timeout
        left = ends_at - time.monotonic()
        if left <= 0:
            raise late("the call's time is over")
        return left if timeout is None else min(timeout, left)


def keep_deadline(client: httpx2.Client, deadline: Deadline) -> None:
    """Let all connections of a client keep to it.

    httpx2 has no public place for a network backend, though httpcore2 has. Should the private one
    go, tests/claribi/test_client_retry.py says so, and each read has its own limit as before.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore2.ConnectionPool):
            pool._network_backend = _Backend(pool._network_backend, deadline)


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend, deadline: Deadline) -> None:
        self._connect: Callable[..., httpcore2.NetworkStream] = backend.connect_tcp
        self._deadline = deadline
        self.sleep = backend.sleep  # type: ignore[method-assign]

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        timeout = self._deadline.limit(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._connect(host, port, timeout, *args, **options), self._deadline)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._limit = deadline.limit
        self._deadline = deadline
        self.close = stream.close  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._limit(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limit(timeout, httpcore2.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = self._limit(timeout, httpcore2.ConnectTimeout)
        secured = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(secured, self._deadline)
