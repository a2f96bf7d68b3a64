"""Real endpoints on loopback for the send path, a web server and a mail server, and shortcuts."""

import asyncio
import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from receiver.model import Attachment, Message, MessageFormat, Severity
from receiver.notify.apprise_target import AppriseTarget
from receiver.notify.target import SendResult


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Web(ThreadingHTTPServer):
    """Answers each request as its path asks: `/status/401`, `/hang`, `/trickle`, …"""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128  # 30 connect at once: with the usual 5, some would be dropped.

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.arrived = threading.Semaphore(0)
        self.release = threading.Event()
        """Set: whatever hangs or trickles ends."""
        self.answer_headers: dict[str, str] = {}
        self.answer_body = b"{}"
        self.statuses: list[int] = []
        """Taken from the front by `/next`; 200 once empty."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = self.path.partition("?")[0]
        self.server.requests.append(Request("POST", self.path, dict(self.headers), body))
        self.server.arrived.release()
        kind, _, value = path.lstrip("/").partition("/")
        getattr(self, f"_{kind}", self._ok)(value)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**self.server.answer_headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _ok(self, _value: str) -> None:
        self._answer(200, self.server.answer_body)

    def _status(self, value: str) -> None:
        self._answer(int(value[:3]), self.server.answer_body)

    def _next(self, _value: str) -> None:
        statuses = self.server.statuses
        self._answer(statuses.pop(0) if statuses else 200, self.server.answer_body)

    def _redirect(self, value: str) -> None:
        self._answer(int(value[:3]), b"moved", Location=f"http://{self.server.host}/landed")

    def _hang(self, _value: str) -> None:
        self.server.release.wait()

    def _reset(self, _value: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Really closed only once the files that share the socket are closed too.
        self.rfile.close()
        self.connection.close()

    def _trickle(self, _value: str) -> None:
        """A header line, letter by letter, until released."""
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not self.server.release.wait(0.02):
            self.wfile.write(b"a")

    def _drip(self, _value: str) -> None:
        """A whole head, then a body letter by letter."""
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not self.server.release.wait(0.02):
            self.wfile.write(b"a")

    def _huge(self, _value: str) -> None:
        self.wfile.write(b"HTTP/1.0 500 Broken\r\n\r\n")
        block = b"x" * 65536
        while not self.server.release.is_set():
            self.wfile.write(block)

    def _bomb(self, _value: str) -> None:
        bomb = gzip.compress(b"\0" * 20_000_000)
        self._answer(502, bomb, Content_Encoding="gzip")

    def _badgzip(self, _value: str) -> None:
        self._answer(200, b"not gzip at all", Content_Encoding="gzip")


@dataclass
class Mail:
    """What the mail server got, and how it should answer."""

    port: int = 0
    letters: list[bytes] = field(default_factory=list)
    rcpt_answer: str = "250 OK"
    data_answer: str = "250 OK"
    hang: asyncio.Event | None = None
    credentials: tuple[bytes, bytes] | None = None

    async def handle_RCPT(  # noqa: N802
        self, _s: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.rcpt_answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.rcpt_answer

    async def handle_DATA(  # noqa: N802
        self, _s: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.hang is not None:
            await self.hang.wait()
        content = envelope.content
        assert isinstance(content, bytes)
        self.letters.append(content)
        return self.data_answer


class _AnyPort(Controller):
    """Controller asks the port that it was given for its first hello, even where that is 0."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mailbox() -> Iterator[Mail]:
    """A mail server that knows one password."""
    box = Mail()

    def authenticate(_s: Any, _sess: Any, _env: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.credentials = (data.login, data.password)
        return AuthResult(success=data.password == b"sekret-mail-password", handled=False)

    controller = _AnyPort(
        box,
        hostname="127.0.0.1",
        port=0,
        authenticator=authenticate,
        auth_require_tls=False,
    )
    controller.start()
    box.port = controller.port
    yield box
    if box.hang is not None:
        controller.loop.call_soon_threadsafe(box.hang.set)
    controller.stop()


MakeTarget = Callable[..., AppriseTarget]


def say(
    body: str = "The nightly sync failed.",
    title: str = "Sync failed",
    *,
    severity: Severity = Severity.WARNING,
    format: MessageFormat = "text",  # noqa: A002
    attachments: tuple[Attachment, ...] = (),
    bodies: Mapping[MessageFormat, str] | None = None,
) -> Message:
    return Message(
        channel="ops",
        title=title,
        body=body,
        severity=severity,
        format=format,
        attachments=attachments,
        bodies=bodies or {},
    )


def send(target: Any, message: Message | None = None) -> SendResult:
    """One send in a loop of its own."""
    return asyncio.run(target.send(message or say()))
