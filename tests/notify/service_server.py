"""A server on loopback that speaks the services' own forms, over HTTP and, by their names, TLS.

Apprise has the host of Slack, Discord, Telegram and others built in. `redirected` answers the
look-up of these names with our own address, so the real plugin makes the real request, TLS
handshake and all, to a server of ours.
"""

import datetime
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = (
    "hooks.slack.com",
    "slack.com",
    "discord.com",
    "api.telegram.org",
    "chat.googleapis.com",
    "prod-1.westeurope.logic.azure.com",
    "ntfy.sh",
)
"""The names that lead here while `redirected`."""


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    host: str
    path: str
    """With its query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer; `fault` is how it fails to be one: `reset`, `hang` or `trickle`."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


def reply_json(status: int, value: object, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


def reply_text(status: int, text: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, text.encode(), {"Content-Type": "text/plain", **named})


class Judge:
    """What answers a request: see service_forms.py."""

    def answer(self, asked: Asked) -> Reply:
        raise NotImplementedError


class ServiceServer:
    """Both servers. What came is in `asked`; `replies` are given first, then the judge's."""

    def __init__(self, judge: Judge, folder: Path) -> None:
        self.judge = judge
        self.asked: list[Asked] = []
        self.replies: list[Reply] = []
        """Taken from the front, in place of what the judge would say."""
        self.arrived = threading.Semaphore(0)
        self.release = threading.Event()
        """Set: whatever hangs or trickles ends."""
        self.ca_file, certificate, key = _certificates(folder)
        self._plain = _Server(self)
        self._tls = _Server(self)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._tls.context = context
        self._threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01})
            for each in (self._plain, self._tls)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def address(self) -> str:
        """Without TLS, for services that take a host."""
        return f"127.0.0.1:{self._plain.server_port}"

    @property
    def tls_port(self) -> int:
        return self._tls.server_port

    def clear(self) -> None:
        """Forget what one test left; what still hangs ends."""
        self.release.set()
        self.asked.clear()
        self.replies.clear()
        self.release = threading.Event()
        self.arrived = threading.Semaphore(0)

    def stop(self) -> None:
        self.release.set()
        for each in (self._plain, self._tls):
            each.shutdown()
            each.server_close()
        for thread in self._threads:
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext | None = None

    def __init__(self, services: ServiceServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.services = services

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a client that never says hello stops no other.
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.context is not None:
            with suppress(OSError):
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or does not trust us is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, headers["host"], self.path, headers, body)
        services = self.server.services
        services.asked.append(asked)
        reply = services.replies.pop(0) if services.replies else services.judge.answer(asked)
        services.arrived.release()
        match reply.fault:
            case "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.rfile.close()
                self.connection.close()
            case "hang":
                services.release.wait()
            case "trickle":
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
                while not services.release.wait(0.02):
                    self.wfile.write(b"a")
            case _:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@contextmanager
def redirected(tls_port: int) -> Iterator[None]:
    """The names in `HOSTS` lead to that port on loopback, for this process."""
    look_up = socket.getaddrinfo

    def ours(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in HOSTS:
            host, port = "127.0.0.1", tls_port
        return look_up(host, port, *args, **kwargs)

    socket.getaddrinfo = ours
    try:
        yield
    finally:
        socket.getaddrinfo = look_up


def redirecting_code(tls_port: int) -> str:
    """The same as a `sitecustomize.py`, for a process of its own."""
    return f"""
import socket
look_up = socket.getaddrinfo
def ours(host, port, *args, **kwargs):
    if host in {HOSTS!r}:
        host, port = "127.0.0.1", {tls_port}
    return look_up(host, port, *args, **kwargs)
socket.getaddrinfo = ours
"""


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate authority's file, and the certificate and key of all `HOSTS` that it signed."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)

    def builder(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    ours = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "services")])
    leaf = builder(ours, key.public_key()).add_extension(names, critical=False)
    signed = leaf.sign(ca_key, hashes.SHA256())
    files = folder / "ca.pem", folder / "services.pem", folder / "services.key"
    pem = serialization.Encoding.PEM
    files[0].write_bytes(ca.public_bytes(pem))
    files[1].write_bytes(signed.public_bytes(pem))
    files[2].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
