"""What is not, or hardly, HTTP: never a 5xx of ours, never two events from one request, never a
client that keeps others out.
"""

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from ingress_server import EVENT, Served, claribi_source, request, served

from receiver import connections
from receiver.app import create_app
from receiver.connections import Patrol
from receiver.settings import Settings


def unique() -> bytes:
    return json.dumps({"event": "test.happened", "at": time.time_ns()}).encode()


def head(server: Served, body: bytes, *lines: str) -> bytes:
    """A signed request's head, with these lines instead of a length."""
    pairs = "".join(f"{name}: {value}\r\n" for name, value in server.signed(body))
    more = "".join(f"{line}\r\n" for line in lines)
    return f"POST /hooks/claribi HTTP/1.1\r\nHost: t\r\n{pairs}{more}\r\n".encode("latin-1")


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def inner(server: Served) -> bytes:
    """A whole, valid request: what a smuggler would like to be taken for one."""
    body = unique()
    return request(body, server.signed(body))


ATTACKS: dict[str, Any] = {
    "two lengths": lambda s, b: head(
        s, b, f"Content-Length: {len(b)}", f"Content-Length: {len(b) + 5}"
    ) + b + inner(s),
    "length and chunks": lambda s, b: head(
        s, b, f"Content-Length: {len(b)}", "Transfer-Encoding: chunked"
    ) + chunks(b) + inner(s),
    "chunks and length": lambda s, b: head(
        s, b, "Transfer-Encoding: chunked", "Content-Length: 4"
    ) + chunks(b) + inner(s),
    "obscured chunks": lambda s, b: head(
        s, b, f"Content-Length: {len(b)}", "Transfer-Encoding: xchunked"
    ) + b + inner(s),
    "chunked twice": lambda s, b: head(
        s, b, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"
    ) + chunks(b) + inner(s),
    "space before the colon": lambda s, b: head(
        s, b, f"Content-Length : {len(b)}"
    ) + b + inner(s),
    "negative length": lambda s, b: head(s, b, "Content-Length: -1") + b + inner(s),
    "length with a sign": lambda s, b: head(s, b, f"Content-Length: +{len(b)}") + b + inner(s),
    "hex length": lambda s, b: head(s, b, f"Content-Length: {len(b):#x}") + b + inner(s),
    "huge length": lambda s, b: head(s, b, f"Content-Length: {'9' * 5000}") + b + inner(s),
    "chunk size is no number": lambda s, b: head(s, b, "Transfer-Encoding: chunked")
        + b"zz\r\n" + b + b"\r\n0\r\n\r\n" + inner(s),
    "chunk size of 17 digits": lambda s, b: head(s, b, "Transfer-Encoding: chunked")
        + b"f" * 17 + b"\r\n" + b + inner(s),
    "chunk ends with LF": lambda s, b: head(s, b, "Transfer-Encoding: chunked")
        + b"%x\n%b\n0\n\n" % (len(b), b) + inner(s),
    "chunk is longer than it says": lambda s, b: head(s, b, "Transfer-Encoding: chunked")
        + b"%x\r\n%bxx\r\n0\r\n\r\n" % (len(b), b) + inner(s),
    "NUL in a header": lambda s, b: head(s, b, "X-A: a\0b", f"Content-Length: {len(b)}") + b,
    "CR in a header": lambda s, b: head(s, b, "X-A: a\rX-B: b", f"Content-Length: {len(b)}") + b,
    "folded header": lambda s, b: head(
        s, b, "X-A: a", " Content-Length: 3", f"Content-Length: {len(b)}"
    ) + b,
    "no version": lambda s, b: b"POST /hooks/claribi\r\n\r\n",
    "wrong version": lambda s, b: head(s, b).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "HTTP/2 preface": lambda s, b: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": lambda s, b: bytes.fromhex("16030100a5010000a10303") + b"\0" * 100,
    "rubbish": lambda s, b: bytes(range(256)) * 4,
    "websocket": lambda s, b: head(
        s, b, "Connection: Upgrade", "Upgrade: websocket", f"Content-Length: {len(b)}"
    ) + b + inner(s),
    "HTTP/2 upgrade": lambda s, b: head(
        s, b, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", f"Content-Length: {len(b)}"
    ) + b,
    "connect": lambda s, b: b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "asterisk": lambda s, b: b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
    "absolute": lambda s, b: b"GET http://evil.example/health HTTP/1.1\r\nHost: t\r\n\r\n",
    "bad escapes": lambda s, b: b"GET /hooks/%zz%ff%00 HTTP/1.1\r\nHost: t\r\n\r\n",
    "not ASCII": lambda s, b: b"GET /hooks/\xff\xfe HTTP/1.1\r\nHost: t\r\n\r\n",
    "no path": lambda s, b: b"POST ? HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
    "double slash": lambda s, b: b"POST //hooks/claribi HTTP/1.1\r\nHost: t\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_no_server_error_and_smuggles_nothing(
    server: Served, attack: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A request may be taken for what it says, or refused; what is inside of it is never one.

    `inner` follows some attacks as another request would on a kept connection. It counts only if
    the one before it was read by the same rules as everybody reads it by, to its very end.
    """
    before = server.count("events")
    body = unique()
    with server.connect() as wire:
        wire.send(ATTACKS[attack](server, body))
        replies = wire.read_for(0.3)
    statuses = [reply.status for reply in replies]
    assert all(status < 500 for status in statuses), replies
    for reply in replies:
        assert reply.headers["content-type"] == "application/json"
        assert isinstance(reply.json, dict)
    assert server.post(unique()).status_code == 202, "commits after all that came before"
    assert server.count("events") - before - 1 <= 1, f"one request became {statuses}"
    assert statuses.count(202) <= 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_an_offer_to_upgrade_is_declined_by_answering(server: Served, protocol: str) -> None:
    """Java's HttpClient offers HTTP/2 in every request."""
    body = unique()
    offer = ("Connection: Upgrade", f"Upgrade: {protocol}", f"Content-Length: {len(body)}")
    with server.connect() as wire:
        wire.send(head(server, body, *offer) + body)
        reply = wire.read()
        assert reply is not None
        assert reply.status == 202
        body = unique()
        wire.send(head(server, body, *offer) + body)
        again = wire.read()
    assert again is None, "the connection closes, so that nobody sees the rest as HTTP/2"


def test_chunks_are_put_together(server: Served) -> None:
    body = unique()
    with server.connect() as wire:
        wire.send(head(server, body, "Transfer-Encoding: chunked"))
        for byte in body:
            wire.send(b"1\r\n%c\r\n" % byte)
        wire.send(b"0\r\nX-Trailer: x\r\n\r\n")
        reply = wire.read()
    assert reply is not None
    assert server.event(reply.json["id"])["body"] == body


def test_100_continue_is_said_before_the_body_is_sent(server: Served) -> None:
    body = unique()
    with server.connect() as wire:
        wire.send(head(server, body, "Expect: 100-continue", f"Content-Length: {len(body)}"))
        go_on = wire.read()
        assert go_on is not None
        assert go_on.status == 100
        wire.send(body)
        reply = wire.read()
    assert reply is not None
    assert reply.status == 202


def test_a_connection_goes_on_after_every_answer_that_read_the_body(server: Served) -> None:
    with server.connect() as wire:
        statuses = []
        for body, path, is_signed in (
            (unique(), "/hooks/claribi", True),
            (EVENT, "/hooks/claribi", False),
            (b"{", "/hooks/claribi", True),
            (EVENT, "/hooks/unknown", True),
            (EVENT, "/nothing", True),
            (unique(), "/hooks/claribi", True),
        ):
            headers = server.signed(body) if is_signed else []
            wire.send(request(body, headers, path=path))
            reply = wire.read()
            assert reply is not None
            statuses.append(reply.status)
    assert statuses == [202, 401, 400, 404, 404, 202]


def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    bodies = [unique() for _ in range(10)]
    with server.connect() as wire:
        wire.send(b"".join(request(body, server.signed(body)) for body in bodies))
        replies = [wire.read() for _ in bodies]
    stored = [server.event(reply.json["id"])["body"] for reply in replies if reply is not None]
    assert stored == bodies


def test_a_length_that_is_too_short_leaves_rubbish_that_is_refused(server: Served) -> None:
    body = unique()
    with server.connect() as wire:
        wire.send(request(body + b'{"event":"more"}', server.signed(body), length=len(body)))
        replies = wire.read_all()
    assert [reply.status for reply in replies] in ([202, 400], [400])


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"x" * 400_000,
        b"GET / HTTP/1.1\r\nHost: t\r\n" + b"X-A: b\r\n" * 60_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000,
    ],
    ids=["path", "headers", "header"],
)
def test_a_head_without_end_is_refused(server: Served, endless: bytes) -> None:
    with server.connect() as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(endless)
        reply = wire.read()
    assert reply is None or (reply.status, reply.json["error"]) == (431, "headers_too_large")
    assert server.client.get("/health").status_code == 200


def test_an_old_client_that_keeps_no_connection_is_answered_and_closed(server: Served) -> None:
    body = unique()
    with server.connect() as wire:
        wire.send(request(body, server.signed(body)).replace(b" HTTP/1.1", b" HTTP/1.0"))
        reply = wire.read()
        assert reply is not None
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        assert wire.is_closed()


def test_many_headers_of_an_honest_size_are_fine(server: Served) -> None:
    body = unique()
    lines = [f"X-Number-{n}: {'y' * 50}" for n in range(500)]
    with server.connect() as wire:
        wire.send(head(server, body, *lines, f"Content-Length: {len(body)}") + body)
        reply = wire.read()
    assert reply is not None
    assert reply.status == 202


class Line:
    """A connection, as the patrol sees it."""

    def __init__(self, *, has_request: bool = False, write_paused: bool = False) -> None:
        self.has_request = has_request
        self.cycle: object = None
        self.flow = self
        self.write_paused = write_paused
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


def test_the_patrol_cuts_who_waits_too_long_and_nobody_else() -> None:
    silent, busy, stuck, lively = (
        Line(), Line(has_request=True), Line(has_request=True, write_paused=True), Line(),
    )  # fmt: skip
    patrol = Patrol(10)
    for now in range(12):
        lively.cycle = object()  # a new request each time
        patrol.walk([silent, busy, stuck, lively], now)  # type: ignore[list-item]
        assert silent.is_cut == stuck.is_cut == (now > 10)
    assert not busy.is_cut
    assert not lively.is_cut


def test_slow_heads_are_cut_off_while_honest_senders_are_served(tmp_path: Path) -> None:
    """Slowloris: heads that come byte by byte, and connections that say nothing."""
    with served(tmp_path, server={"read_timeout": "300ms"}) as server:
        wires = [server.connect() for _ in range(20)]
        for wire in wires[:10]:
            wire.send(b"POST /hooks/claribi HTTP/1.1\r\nX: ")
        over = threading.Event()

        def trickle() -> None:
            while not over.wait(0.05):
                for wire in wires[:10]:
                    try:
                        wire.send(b"x")
                    except OSError:
                        return

        slow = threading.Thread(target=trickle)
        slow.start()
        try:
            assert server.post(unique()).status_code == 202
            for wire in wires:
                assert wire.is_closed()
        finally:
            over.set()
            slow.join()
            for wire in wires:
                wire.socket.close()


def test_who_opens_all_connections_shuts_out_only_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)
    with served(tmp_path) as server:
        silent = [server.connect() for _ in range(30)]
        for _ in range(3):
            with server.connect() as wire:
                body = unique()
                wire.send(request(body, server.signed(body)))
                reply = wire.read()
                assert reply is not None
                assert reply.status == 202
        assert silent[0].is_closed()
        for wire in silent:
            wire.socket.close()


def test_connections_are_limited_by_the_files_a_process_may_open() -> None:
    assert 0 < connections.most_connections() <= connections.MAX_CONNECTIONS


class PlainServer(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def test_the_application_runs_under_any_asgi_server(tmp_path: Path) -> None:
    """Started and stopped by the lifespan, as by a plain uvicorn."""
    (tmp_path / "handlers").mkdir()
    settings = Settings.from_dict({"sources": {"claribi": claribi_source()}}, home=tmp_path)
    app = create_app(settings)
    server = PlainServer(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.ready.wait(20)
        host, port = server.servers[0].sockets[0].getsockname()
        assert httpx2.get(f"http://{host}:{port}/health").json()["status"] == "ok"
    finally:
        server.should_exit = True
        thread.join(20)
    assert app.ingress.is_draining
