"""A server that takes webhooks, whatever they are, and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_bWFkZS11cCBzZWNyZXQgZm9yIHRlc3Rz"  # made up


class ForwardSink(ThreadingHTTPServer):
    """Keeps each request's headers and body; answers with what it was given, then with 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.answers_nobody = threading.Event()
        """While it is set, requests are taken and never answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in?token=hunter2hunter2"


class _Take(BaseHTTPRequestHandler):
    server: ForwardSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
        if self.server.answers_nobody.is_set():
            self.rfile.read(1)  # until the other side is gone
            self.close_connection = True
            return
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@contextmanager
def forward_sink() -> Iterator[ForwardSink]:
    server = ForwardSink()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
