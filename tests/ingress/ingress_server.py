"""The real application under the real server, in a thread, and ways to speak to it."""

import asyncio
import contextlib
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from receiver.app import Application, create_app
from receiver.server import Server, address_of, listen, run
from receiver.settings import Settings
from receiver.signatures import Scheme, SchemeSpec, build_scheme

# Two libraries in one process that open one file take each other's locks away.
from receiver.store.driver import sqlite3

SECRET = "made-up-secret-for-tests-000001"
OLD_SECRET = "made-up-secret-for-tests-000000"
EVENT = b'{"event":"data_source.sync_failed","data":{"id":1}}'

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """An answer, read from a socket."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running server."""

    def __init__(self, app: Application, server: Server, listener: socket.socket) -> None:
        self.app = app
        self.server = server
        self.url = address_of(listener)
        self.address: tuple[str, int] = listener.getsockname()
        self.settings = app.engine.settings
        self.client = httpx2.Client(base_url=self.url, timeout=20)

    def scheme(self, source: str = "claribi", secrets: tuple[str, ...] = ()) -> Scheme:
        """The scheme of a source, to sign with."""
        settings = self.settings.sources[source]
        known = tuple(secret.get_secret_value() for secret in settings.secrets)
        return build_scheme(SchemeSpec(**settings.scheme_options), secrets or known)

    def signed(
        self, body: bytes, source: str = "claribi", *, at: float | None = None, index: int = 0
    ) -> Pairs:
        """The headers that prove the body."""
        now = time.time() if at is None else at
        name = f"msg_{zlib.crc32(body):x}"
        return self.scheme(source).sign(body, message_id=name, now=now, secret_index=index)

    def post(
        self, body: bytes = EVENT, source: str = "claribi", headers: Pairs | None = None
    ) -> httpx2.Response:
        """Send a body, signed unless `headers` say otherwise."""
        if headers is None:
            headers = self.signed(body, source)
        return self.client.post(f"/hooks/{source}", content=body, headers=headers)

    def connect(self) -> "Wire":
        """A plain connection."""
        return Wire(socket.create_connection(self.address, timeout=20))

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the database, which the server has open too."""
        assert self.settings.sqlite_path is not None
        uri = f"{self.settings.sqlite_path.as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=20)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def count(self, table: str) -> int:
        (row,) = self.query(f"SELECT count(*) FROM {table}")
        return int(row[0])

    def event(self, event_id: str) -> dict[str, Any]:
        """A stored event's columns."""
        names = "source, type, body, headers, message_id, secret_index"
        (row,) = self.query(f"SELECT {names} FROM events WHERE id = ?", event_id)
        return dict(zip(names.split(", "), row, strict=True))

    def call(self, coroutine_function: Any, *arguments: Any) -> Any:
        """Run something on the server's loop."""
        loop = self.app.engine.store._loop
        assert loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine_function(*arguments), loop).result(20)


class Wire:
    """A socket on which requests are written by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> Reply | None:
        """The next answer; None if the server closed the connection instead."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                assert not self._buffer, f"cut off in a head: {self._buffer!r}"
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", "0"))
        while len(self._buffer) < size:
            assert self._more(), "cut off in a body"
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return Reply(int(first.split(" ")[1]), headers, body)

    def read_all(self) -> list[Reply]:
        """Every answer until the server closes."""
        replies = []
        while (reply := self.read()) is not None:
            replies.append(reply)
        return replies

    def read_for(self, seconds: float) -> list[Reply]:
        """The answers until the server closes or says nothing for so long."""
        self.socket.settimeout(seconds)
        replies: list[Reply] = []
        with contextlib.suppress(TimeoutError):
            while (reply := self.read()) is not None:
                replies.append(reply)
        return replies

    def is_closed(self) -> bool:
        """Waits for the server to close; False if it says something else."""
        return not self._buffer and not self._more()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


def request(
    body: bytes, headers: Pairs, *, path: str = "/hooks/claribi", length: int = -1
) -> bytes:
    """A request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    size = len(body) if length < 0 else length
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n{lines}\r\n"
    return head.encode("latin-1") + body


def claribi_source(**changes: Any) -> dict[str, Any]:
    return {"scheme": "claribi", "secrets": [SECRET, OLD_SECRET], **changes}


@contextmanager
def served(
    home: Path,
    *,
    sources: Mapping[str, Any] | None = None,
    handlers: str = "",
    **sections: Any,
) -> Iterator[Served]:
    """Serve a deployment in `home`; `handlers` is the text of its only handler file."""
    (home / "handlers").mkdir(parents=True, exist_ok=True)
    (home / "handlers" / "deployed.py").write_text(handlers, "utf-8")
    data = {"sources": sources or {"claribi": claribi_source()}, **sections}
    settings = Settings.from_dict(data, home=home)
    app = create_app(settings)
    ready = threading.Event()
    listener = listen("127.0.0.1", 0)
    server = Server(
        app,
        drain_seconds=settings.server.drain_timeout.total_seconds(),
        read_timeout_seconds=settings.server.read_timeout.total_seconds(),
        on_ready=ready.set,
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(run(server, listener)), name="server under test"
    )
    served = Served(app, server, listener)
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        yield served
    finally:
        served.client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
