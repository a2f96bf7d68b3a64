"""The status table of docs/ingress.md, over real sockets."""

import asyncio
import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ingress_server import EVENT, OLD_SECRET, SECRET, Pairs, Served, claribi_source, request, served

from receiver.errors import StoreError
from receiver.store.driver import sqlite3


def check_error(reply: Any, status: int, code: str) -> dict[str, str]:
    """The reply is an error in clariBI's form, and nothing else; its body."""
    body = reply.json() if callable(reply.json) else reply.json
    code_of_reply = getattr(reply, "status_code", getattr(reply, "status", None))
    assert (code_of_reply, body["error"]) == (status, code)
    assert reply.headers["content-type"] == "application/json"
    assert {"error", "message"} <= body.keys() <= {"error", "message", "detail"}
    assert all(isinstance(value, str) and value for value in body.values())
    assert "Traceback" not in str(body)
    return dict(body)


def unique(**fields: Any) -> bytes:
    return json.dumps({"event": "test.happened", "at": time.time_ns(), **fields}).encode()


def test_202_says_the_id_of_the_event_that_is_stored(server: Served) -> None:
    body = unique()
    reply = server.post(body)
    assert reply.status_code == 202
    answer = reply.json()
    assert answer == {"id": answer["id"], "duplicate": False}
    assert answer["id"].startswith("evt_")
    stored = server.event(answer["id"])
    assert (stored["source"], stored["type"], stored["body"]) == ("claribi", "test.happened", body)


def test_200_says_the_first_events_id(server: Served) -> None:
    body = unique()
    first = server.post(body).json()
    before = server.count("events")
    again = server.post(body)
    assert again.status_code == 200
    assert again.json() == {"id": first["id"], "duplicate": True}
    assert server.count("events") == before


MALFORMED = {
    "empty": (b"", "not valid JSON"),
    "not JSON": (b"event=x", "not valid JSON"),
    "an array": (b'[{"event":"x"}]', "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "no event": (b'{"data":{}}', "`event` in the body has to be a string"),
    "event is a number": (b'{"event":7}', "has to be a string"),
    "event is empty": (b'{"event":""}', "has to be a string"),
    "event is too long": (b'{"event":"' + b"x" * 10_000 + b'"}', "longer than 255"),
    "event has a line break": (b'{"event":"a\\nb"}', "can't be printed"),
    "event has a NUL": (b'{"event":"a\\u0000b"}', "can't be printed"),
    "65 levels": (b'{"event":"x","a":' + b"[" * 64 + b"]" * 64 + b"}", "deeper than 64"),
    "100,000 levels": (b'{"a":' + b"[" * 100_000, "recursion limit"),
    "NaN": (b'{"event":"x","a":NaN}', "not valid JSON"),
    "Infinity": (b'{"event":"x","a":-Infinity}', "not valid JSON"),
    "not UTF-8": (b'{"event":"x","a":"\xff"}', "unicode"),
    "UTF-16": ('{"event":"x"}'.encode("utf-16"), "not valid JSON"),
    "BOM": (b'\xef\xbb\xbf{"event":"x"}', "not valid JSON"),
    "lone surrogate": (b'{"event":"x","a":"\\ud800"}', "hex escape"),
    "5,000 digits": (b'{"event":"x","a":' + b"1" * 5000 + b"}", "out of range"),
    "trailing garbage": (b'{"event":"x"}}', "trailing"),
    "event twice": (b'{"event":"x","event":"y"}', "same name twice"),
    "event twice, once escaped": (b'{"event":"x","\\u0065vent":"y"}', "same name twice"),
    "a name twice inside": (b'{"event":"x","a":{"b":1,"b":2}}', "same name twice"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_400_says_why_and_keeps_the_whole_request(server: Served, name: str) -> None:
    """R4: what is signed but no event is never lost."""
    body, said = MALFORMED[name]
    before = server.count("events")
    reply = server.post(body)
    detail = check_error(reply, 400, "validation_error")["detail"]
    assert said in detail
    ((kept, size, status, reason),) = server.query(
        "SELECT body, body_bytes, status, reason FROM rejections ORDER BY id DESC LIMIT 1"
    )
    assert (kept, size, status, reason) == (body, len(body), 400, detail)
    assert server.count("events") == before


def test_400_for_a_compressed_body_says_what_to_do(server: Served) -> None:
    body = gzip.compress(EVENT)
    headers = [*server.signed(body), ("Content-Encoding", "gzip")]
    detail = check_error(server.post(body, headers=headers), 400, "validation_error")["detail"]
    assert "without Content-Encoding: gzip" in detail


NOW = 1_800_000_000.0


def unproven(server: Served) -> dict[str, Pairs]:
    now = time.time()
    (good,) = server.signed(EVENT)
    name, value = good
    return {
        "none": [],
        "another body's": server.signed(EVENT + b" "),
        "wrong secret": server.scheme("claribi", ("another-made-up-secret-000",)).sign(
            EVENT, message_id="", now=now
        ),
        "stale": server.signed(EVENT, at=now - 301),
        "from the future": server.signed(EVENT, at=now + 310),
        "twice": [good, good],
        "empty": [(name, "")],
        "no timestamp": [(name, value.partition(",")[2])],
        "no signature": [(name, value.partition(",")[0])],
        "not hex": [(name, value[:-1] + "g")],
        "cut": [(name, value[:-2])],
        "not ASCII": [(name, value[:-1] + "\xe9")],
        "commas": [(name, "," * 1000)],
        "timestamp of 5,000 digits": [(name, f"t={'1' * 5000},v1=00")],
        "timestamp with a sign": [(name, value.replace("t=", "t=+"))],
    }


def test_401_is_the_same_for_every_reason_and_stores_no_event(server: Served) -> None:
    before = server.count("events"), server.count("dedupe_keys")
    answers = set()
    for case, headers in unproven(server).items():
        encoded = [(name, value.encode("latin-1")) for name, value in headers]
        reply = server.client.post("/hooks/claribi", content=EVENT, headers=encoded)
        assert reply.status_code == 401, case
        check_error(reply, 401, "authentication_failed")
        answers.add((reply.content, *sorted(set(reply.headers) - {"content-length"})))
    assert len(answers) == 1
    assert (server.count("events"), server.count("dedupe_keys")) == before


def test_unsigned_bodies_are_never_parsed(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: the signature, over the raw bytes, comes before everything else that reads them."""

    def parse(body: bytes) -> Any:
        raise AssertionError(f"parsed {body!r}")

    monkeypatch.setattr("receiver.ingress.parse_object", parse)
    for body in (EVENT, b"{", b"\xff", b"[" * 100_000):
        assert server.post(body, headers=[]).status_code == 401
    check_error(server.post(unique()), 500, "internal_error")  # so the patch was in place


@pytest.mark.parametrize("path", ["unknown", "", "claribi/", "CLARIBI", "claribi/x", "%00", "../x"])
def test_404_for_an_unknown_source(server: Served, path: str) -> None:
    with server.connect() as wire:
        wire.send(request(EVENT, server.signed(EVENT), path=f"/hooks/{path}"))
        check_error(wire.read(), 404, "not_found")


@pytest.mark.parametrize("path", ["/nothing", "/hooks", "/health/", "//evil.example/..", "/docs"])
def test_404_for_an_unknown_path(server: Served, path: str) -> None:
    with server.connect() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
        reply = wire.read()
        check_error(reply, 404, "not_found")
        assert reply is not None
        assert "location" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_405_says_what_is_allowed(server: Served, method: str) -> None:
    reply = server.client.request(method, "/hooks/claribi")
    check_error(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


def test_405_for_head_has_no_body(server: Served) -> None:
    reply = server.client.head("/hooks/claribi")
    assert (reply.status_code, reply.content) == (405, b"")


def test_health_says_that_it_accepts(server: Served) -> None:
    reply = server.client.get("/health")
    assert reply.status_code == 200
    assert reply.json()["status"] == "ok"


def test_413_for_a_body_that_says_it_is_too_long(server: Served) -> None:
    with server.connect() as wire:
        wire.send(request(b"", [], length=10**12))
        reply = wire.read()
        check_error(reply, 413, "payload_too_large")
        assert reply is not None
        assert reply.headers["connection"] == "close"


def test_413_comes_before_the_body_is_asked_for(server: Served) -> None:
    with server.connect() as wire:
        wire.send(request(b"", [("Expect", "100-continue")], length=10**6))
        check_error(wire.read(), 413, "payload_too_large")


def test_413_while_counting_chunks(server: Served) -> None:
    """R3: a body without a length is counted as it comes, and never kept beyond the limit."""
    with server.connect() as wire:
        wire.send(b"POST /hooks/claribi HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        for _ in range(7):  # 229,376 bytes, and no end
            wire.send(chunk)
        check_error(wire.read(), 413, "payload_too_large")


@pytest.mark.parametrize(("size", "status"), [(200_000, 202), (200_001, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_limit_is_exact(server: Served, size: int, status: int, is_chunked: bool) -> None:
    body = unique(chunked=is_chunked)
    body += b" " * (size - len(body))
    content: Any = (body[i : i + 60_000] for i in range(0, size, 60_000)) if is_chunked else body
    reply = server.client.post("/hooks/claribi", content=content, headers=server.signed(body))
    assert reply.status_code == status


def test_413_reaches_a_client_that_goes_on_sending_and_then_the_connection_closes(
    server: Served,
) -> None:
    with server.connect() as wire:
        wire.send(request(b"x" * 3_000_000, []))
        check_error(wire.read(), 413, "payload_too_large")
        assert wire.is_closed()


def test_408_for_a_body_that_does_not_come(tmp_path: Path) -> None:
    with served(tmp_path, server={"read_timeout": "200ms"}) as server:
        for sent in (b"", b'{"event"'):
            with server.connect() as wire:
                wire.send(request(sent, server.signed(EVENT), length=len(EVENT)))
                check_error(wire.read(), 408, "request_timeout")
                wire.socket.shutdown(1)
                assert wire.is_closed()
        assert server.post().status_code == 202


def test_a_client_that_goes_away_in_its_body_leaves_nothing(server: Served) -> None:
    before = server.count("events")
    with server.connect() as wire:
        wire.send(request(EVENT[:-1], server.signed(EVENT), length=len(EVENT)))
    assert server.client.get("/health").status_code == 200
    assert server.count("events") == before


def test_429_over_the_sources_rate(tmp_path: Path) -> None:
    sources = {"claribi": claribi_source(rate="2/h"), "other": claribi_source()}
    with served(tmp_path, sources=sources) as server:
        assert server.post(b"not signed", headers=[]).status_code == 401, "takes no token"
        statuses = [server.post(unique()).status_code for _ in range(3)]
        assert statuses == [202, 429, 429]
        reply = server.post(unique())
        check_error(reply, 429, "rate_limited")
        assert 1700 < int(reply.headers["retry-after"]) <= 1800
        assert server.post(unique(), "other").status_code == 202
        assert server.count("events") == 2


HANGING = """
import asyncio
from receiver import on

@on("test.*")
async def hang(event: dict) -> None:
    await asyncio.sleep(3600)
"""


def test_503_while_the_backlog_is_full(tmp_path: Path) -> None:
    with served(
        tmp_path, handlers=HANGING, store={"max_backlog": 3}, server={"drain_timeout": "100ms"}
    ) as server:
        replies = [server.post(unique()) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [202, 202, 202, 503]
        check_error(replies[-1], 503, "service_unavailable")
        assert replies[-1].headers["retry-after"] == "30"
        reply = server.post(unique(event="nobody.cares"))
        assert reply.status_code == 202, "an event without deliveries adds to no backlog"
        ids = [row[0] for row in server.query("SELECT id FROM deliveries LIMIT 1")]
        assert ids


def test_503_while_the_database_is_locked_and_then_it_goes_on(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        # So that the test need not wait the usual five seconds.
        server.call(server.app.engine.store.write, lambda db: db.execute("PRAGMA busy_timeout=200"))
        path = server.settings.sqlite_path
        assert path is not None
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        body, malformed = unique(), b"{"
        for refused in (body, malformed):
            reply = server.post(refused)
            check_error(reply, 503, "service_unavailable")
            assert reply.headers["retry-after"] == "5"
            assert str(tmp_path) not in reply.text
        assert server.post(b"unsigned", headers=[]).status_code == 401, "kept or not"
        assert server.client.get("/health").status_code == 200
        blocker.execute("COMMIT")
        blocker.close()
        assert server.post(body).status_code == 202
        assert server.post(malformed).status_code == 400
        assert server.count("events") == 1


def test_503_for_whatever_else_the_store_can_not_do(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("damaged: /secret/path")

    monkeypatch.setattr(server.app.engine.intake, "accept", broken)
    reply = server.post(unique())
    check_error(reply, 503, "service_unavailable")
    assert "damaged" not in reply.text


def test_503_while_draining(server: Served) -> None:
    ingress = server.app.ingress
    ingress.is_draining = True
    try:
        reply = server.post(unique())
        health = server.client.get("/health")
    finally:
        ingress.is_draining = False
    check_error(reply, 503, "service_unavailable")
    assert reply.headers["retry-after"] == "5"
    assert reply.headers["connection"] == "close"
    assert (health.status_code, health.json()["status"]) == (503, "draining")


def test_500_for_a_bug_of_ours_is_json_too(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("made up")

    monkeypatch.setattr(server.app.engine.intake, "accept", broken)
    reply = server.post(unique())
    check_error(reply, 500, "internal_error")
    assert "made up" not in reply.text


def test_the_answer_comes_after_the_commit(server: Served) -> None:
    """R1, as seen from outside: while the commit is held up there is no answer."""
    store = server.app.engine.store
    release = threading.Event()
    holding = threading.Event()

    def hold(_db: object) -> None:
        holding.set()
        release.wait(20)

    loop = store._loop
    assert loop is not None
    held = asyncio.run_coroutine_threadsafe(store.write(hold), loop)
    assert holding.wait(20)
    body = unique()
    with server.connect() as wire:
        wire.send(request(body, server.signed(body)))
        # A second, later request that needs no commit is answered: so the first one was read.
        assert server.post(b"", headers=[], source="unknown").status_code == 404
        wire.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            wire.read()
        release.set()
        wire.socket.settimeout(20)
        reply = wire.read()
    assert reply is not None
    assert reply.status == 202
    assert server.event(reply.json["id"])["body"] == body
    held.result(20)


def test_concurrent_requests_share_commits(server: Served) -> None:
    """R5, as seen from outside: what waits for one commit goes into the next one together."""
    store = server.app.engine.store
    release, holding = threading.Event(), threading.Event()

    def hold(_db: object) -> None:
        holding.set()
        release.wait(20)

    loop = store._loop
    assert loop is not None
    held = asyncio.run_coroutine_threadsafe(store.write(hold), loop)
    assert holding.wait(20)
    wires = [server.connect() for _ in range(20)]
    for wire in wires:
        body = unique(port=wire.socket.getsockname()[1])
        wire.send(request(body, server.signed(body)))
    writer = store._writer
    assert writer is not None
    while writer._queue.qsize() < len(wires):
        assert server.client.get("/health").status_code == 200  # a turn of the loop
    batches: list[int] = []
    apply = writer._apply
    writer._apply = lambda batch: (batches.append(len(batch)), apply(batch))[1]
    try:
        release.set()
        replies = [wire.read() for wire in wires]
    finally:
        writer._apply = apply
        for wire in wires:
            wire.socket.close()
    assert all(reply is not None and reply.status == 202 for reply in replies)
    assert batches == [20]
    held.result(20)


HANDLED = """
from receiver import on

@on("test.*")
async def one(event: dict) -> None:
    pass

@on("test.happened")
async def two(event: dict) -> None:
    raise RuntimeError("made up")
"""


def test_event_and_deliveries_are_one_transaction(tmp_path: Path) -> None:
    """R2: no moment shows an event without its deliveries, or one of them alone."""
    with served(tmp_path, handlers=HANDLED, server={"drain_timeout": "100ms"}) as server:
        done = threading.Event()
        seen: set[int] = set()

        def watch() -> None:
            while not done.is_set():
                rows = server.query(
                    "SELECT (SELECT count(*) FROM deliveries WHERE event_seq = seq) FROM events"
                )
                seen.update(row[0] for row in rows)

        watcher = threading.Thread(target=watch)
        watcher.start()
        statuses = {server.post(unique()).status_code for _ in range(30)}
        done.set()
        watcher.join()
        assert statuses == {202}
        assert seen <= {2}
        assert server.count("deliveries") == 60


def test_secrets_rotate_and_the_index_of_the_one_that_matched_is_kept(server: Served) -> None:
    for index, secret in enumerate((SECRET, OLD_SECRET)):
        body = unique()
        headers = server.scheme("claribi", (secret,)).sign(body, message_id="", now=time.time())
        reply = server.post(body, headers=headers)
        assert server.event(reply.json()["id"])["secret_index"] == index
        assert SECRET not in server.event(reply.json()["id"])["headers"]


def test_unknown_event_types_are_stored(server: Served) -> None:
    for kind in ("never.heard.of", "__proto__", "../../etc", "{{7*7}}", "*", "é", "A B"):
        reply = server.post(unique(event=kind))
        assert reply.status_code == 202
        assert server.event(reply.json()["id"])["type"] == kind


def test_allowed_hosts_are_the_only_ones_that_are_answered(tmp_path: Path) -> None:
    with served(tmp_path, server={"allowed_hosts": ["hooks.example.com", "[::1]"]}) as server:
        statuses = []
        for hosts in (
            ["hooks.example.com"], ["HOOKS.example.com:8000"], ["[::1]"], ["[::1]:8000"],
            ["evil.example"], [""], [], ["hooks.example.com", "evil.example"],
            ["hooks.example.com.evil.example"], ["hooks.example.com@evil.example"],
        ):  # fmt: skip
            lines = "".join(f"Host: {host}\r\n" for host in hosts)
            with server.connect() as wire:
                wire.send(f"GET /health HTTP/1.1\r\n{lines}\r\n".encode())
                reply = wire.read()
            assert reply is not None
            statuses.append(reply.status)
            if reply.status != 200:
                check_error(reply, 421, "misdirected_request")
        assert statuses == [200] * 4 + [421] * 6
