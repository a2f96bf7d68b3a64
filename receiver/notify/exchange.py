"""What was seen of one send: its requests and their answers. No I/O, no slow imports."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its answer, or the failure that it met instead."""

    protocol: str
    """`HTTP` or `SMTP`."""
    status: int | None = None
    retry_after: str | None = None
    """The header as it came, or how long Discord lets nothing more through."""
    body: bytes = b""
    """The start of the answer, at most 64 KiB."""
    error_class: str | None = None
    error: str | None = None
    """The innermost cause, in the words of the system (`Connection refused`)."""
    may_have_arrived: bool = False
    """It failed after the message was, or may have been, handed over."""
    is_hopeless: bool = False
    """The request itself can't be made, now or later (a bad host name, a bad header)."""


class Recording:
    """The exchanges of one send, in order, and the means to end it from outside."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._connections: list[socket.socket] = []
        self._abandoned = threading.Event()
        self._seen: BaseException | None = None

    def abandon(self) -> None:
        """Nobody waits for this send any more: cut its connections, let it start nothing new.

        From any thread; does not block. A thread that hangs in a read is thereby freed.
        """
        self._abandoned.set()
        for connection in tuple(self._connections):
            _cut(connection)

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned.is_set()

    @property
    def why_no_more(self) -> str | None:
        """Why this send may start no further request; None if it may."""
        if self.is_abandoned:
            return "the deadline had passed"
        if any(seen.status == TOO_MANY_REQUESTS for seen in self.exchanges):
            # Discord's and Matrix's plugins would ask again, at once or after a sleep of their own.
            return "the service had asked to wait"
        return None

    def connected(self, connection: socket.socket) -> None:
        """Note a connection, to cut it if the send is abandoned."""
        self._connections.append(connection)
        if self.is_abandoned:  # In between: `abandon` may not have seen it.
            _cut(connection)

    def add(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def add_failure(self, error: BaseException, exchange: Exchange) -> None:
        """Note a failure once, however many wrapped methods it passes on its way up."""
        if self._seen is not error:
            self._seen = error
            self.exchanges.append(exchange)


def _cut(connection: socket.socket) -> None:
    # The plain socket's method: that of a TLS socket would change the object under the reader.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
