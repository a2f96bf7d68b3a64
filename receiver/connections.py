"""Connections under control: what uvicorn leaves open to clients that mean no good.

uvicorn waits for ever for a request's head, takes heads of any size and answers what is not
HTTP in plain text. It drops the body of a request that offers an upgrade.
"""

import asyncio
import json
import resource
import socket
import struct
from collections.abc import Collection, Sequence
from typing import Any

import httptools
from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

MAX_HEAD_BYTES = 65_536
"""Of a request's head, beyond the first piece that is read (at most 256 KiB)."""
MAX_CONNECTIONS = 4096
_OTHER_FILES = 128
"""File descriptors kept for the database, handlers, targets and logs."""


class Connection(HttpToolsProtocol):
    """A client's connection."""

    _head: object = None
    """The scope of the request whose head is being read."""
    _head_bytes = 0
    _made_at = 0.0

    @property
    def has_request(self) -> bool:
        """Whether a request's head has come and is not answered yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, in the place of another one if there are too many."""
        super().connection_made(transport)
        self._made_at = self.loop.time()
        if len(self.connections) > most_connections():
            _make_room(self.connections, newest=self)

    def data_received(self, data: bytes) -> None:
        """Parse; decline an upgrade, and give up on a head without end."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(
                error.__context__, MemoryError
            ):  # no fault of the client's, and it passes
                again = b"retry-after: 5\r\n"
                self._refuse(503, "service_unavailable", "Send this again later.", again)
            else:
                self.send_400_response("This is not HTTP.")
            return
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(rest=data[offer.args[0] :])
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            return  # the last head that was begun is complete
        if self._head is not self.scope:
            self._head, self._head_bytes = self.scope, 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "headers_too_large", f"A head has at most {MAX_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """Begin with the request, unless it has to be read again."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete, unless it was not read at all."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _decline_upgrade(self, *, rest: bytes) -> None:
        """Read a request that offers an upgrade again, without the offer.

        The parser takes it for a request without a body. Java's HttpClient offers HTTP/2 in
        every request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version), b"connection: close"]
        lines += [
            b"%b: %b" % pair for pair in self.headers if pair[0] not in (b"upgrade", b"connection")
        ]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn does: what follows the last request is not read, and no reason to refuse it.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def cut(self) -> None:
        """End it at once, and what it has still to send with it, in the kernel too."""
        at_once = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, at_once
        )
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the form of all other errors."""
        self._refuse(400, "validation_error", msg)

    def _refuse(self, status: int, error: str, message: str, more: bytes = b"") -> None:
        body = json.dumps({"error": error, "message": message}).encode()
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b"
            b"connection: close\r\n\r\n%b" % (STATUS_LINE[status], len(body), more, body)
        )
        self.transport.close()


def body_at_once(receive: Receive, max_bytes: int) -> bytes | None:
    """The body, if all of it is there already; None, and nothing done, if not, or if not ours.

    None for a longer body, too: that is no case for speed.

    As it is for nearly every webhook: it came in the same packet as its head. What `receive`
    does for it costs a coroutine, a dictionary and, around it, a time limit.
    """
    cycle = getattr(receive, "__self__", None)
    if (
        cycle.__class__ is not RequestResponseCycle
        or cycle.more_body
        or cycle.disconnected
        or cycle.flow.read_paused
        or len(cycle.body) > max_bytes
    ):
        return None
    body = bytes(cycle.body)
    cycle.body = bytearray()
    cycle.message_event.clear()
    return body


def answer_at_once(
    send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bool:
    """Answer a request with one write; False, and nothing done, if it is not ours to write to.

    What `send` does in two calls and two writes, each a system call, with a check of every
    header that an application might have from somebody else; ours are our own.
    """
    cycle = getattr(send, "__self__", None)
    if (
        cycle.__class__ is not RequestResponseCycle
        or cycle.response_started
        or cycle.flow.write_paused
        or cycle.scope["method"] != "POST"
    ):
        return False
    if cycle.disconnected:
        return True
    head = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    close = b"" if cycle.keep_alive else b"connection: close\r\n"
    cycle.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, close, body))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class Patrol:
    """Ends connections on which nothing gets on: looks at all of them, every second or so.

    A connection that waits for the head of a request, or for its client to take the answers, is
    cut off after `limit_seconds`. How long a body may take is for ingress to say, and how long
    a connection may be idle for uvicorn.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._since: dict[tuple[Connection, Any], float] = {}

    def walk(self, connections: Collection[Connection], now: float) -> None:
        """Look at the connections; `now` is in seconds, of any clock that only goes on."""
        since: dict[tuple[Connection, Any], float] = {}
        for connection in list(connections):
            if connection.has_request and not connection.flow.write_paused:
                continue
            # While the last request is still the same one, it has been waiting all the time.
            key = (connection, connection.cycle)
            since[key] = self._since.get(key, now)
            if now - since[key] > self._limit:
                connection.cut()
        self._since = since


def most_connections() -> int:
    """How many connections there may be: as many as the process may open files, or nearly."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(files - _OTHER_FILES, files // 2))


def _make_room(connections: Collection[Any], *, newest: Connection) -> None:
    """Cut off the connection that has sent nothing for the longest; if all are busy, the newest.

    So who opens thousands of connections and says nothing shuts out nobody but themselves.
    """
    silent = [
        each
        for each in connections
        if not each.has_request and each is not newest and not each.transport.is_closing()
    ]
    oldest = min(silent, key=lambda each: (each.cycle is not None, each._made_at), default=newest)
    oldest.cut()
