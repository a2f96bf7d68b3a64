"""Retry policy, Retry-After and dead deliveries of a real `clarihook serve`, over its restarts."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serve_process import SECRET, Serve, event_body, opened, serving, settle, write_home

UNFINISHED = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"
DEAD = "clarihook.delivery.dead"


class Sink(ThreadingHTTPServer):
    """A target that answers as it is told, then takes everything."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.came_at: list[float] = []
        self.arrived = threading.Semaphore(0)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Take(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came_at.append(time.time())
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.arrived.release()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.stop()


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with opened(home) as database:
        return database.execute(query).fetchall()


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_holds_over_a_kill_and_a_restart(
    tmp_path: Path, sink: Sink, status: int
) -> None:
    """What the target asked for is stored with the delivery; no new process comes too early."""
    sink.answers = [(status, {"Retry-After": "4"})]
    home = write_home(
        tmp_path / "home",
        settings=f'[channels.sink]\nurls = ["json://127.0.0.1:{sink.server_port}/"]\n'
        'schedule = ["1ms"]\n[[routes]]\nmatch = "load.*"\nnotify = "sink"\n',
    )
    with serving(home) as serve:
        assert serve.post(event_body("one"))[0] == 202
        assert sink.arrived.acquire(timeout=20)
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE state = 'retrying'")
        serve.kill()
    with serving(home):
        settle(home, UNFINISHED)
    first, second = sink.came_at
    assert second - first >= 3.9
    states = "SELECT state, attempts FROM deliveries WHERE name = 'sink/1-json'"
    assert rows(home, states) == [("succeeded", 2)]


POLICY = """
from receiver import on


@on("load.own", attempts=2, final=("LookupError",))
async def own(event: dict) -> None:
    raise OSError("it may pass")


@on("load.inherits")
async def inherits(event: dict) -> None:
    raise OSError("it may pass")


@on("load.final", final=(LookupError,))
async def final(event: dict) -> None:
    raise KeyError("it never will")


@on("load.old", schedule=["1h"], max_age="30m", jitter=0)
async def old(event: dict) -> None:
    raise OSError("it may pass")
"""


def test_each_delivery_goes_by_its_own_policy(tmp_path: Path) -> None:
    home = write_home(
        tmp_path / "home",
        handlers=POLICY,
        settings=f'[sources.shop]\nscheme = "claribi"\nsecrets = ["{SECRET}"]\nattempts = 3\n'
        '[dispatch]\nattempts = 4\nbackoff = { first = "1ms", factor = 2, cap = "10ms" }\n',
    )
    with serving(home) as serve:
        for kind in ("own", "inherits", "final", "old"):
            for source in ("claribi", "shop"):
                body = event_body(kind, f"load.{kind}")
                assert serve.post(body, source=source)[0] == 202
        settle(home, UNFINISHED)
    found = rows(
        home,
        "SELECT name, source, state, attempts FROM deliveries "
        "JOIN events ON events.seq = event_seq ORDER BY name, source",
    )
    assert found == [
        ("deployed.final", "claribi", "dead", 1),
        ("deployed.final", "shop", "dead", 1),
        ("deployed.inherits", "claribi", "dead", 4),
        ("deployed.inherits", "shop", "dead", 3),
        ("deployed.old", "claribi", "dead", 1),
        ("deployed.old", "shop", "dead", 1),
        ("deployed.own", "claribi", "dead", 2),
        ("deployed.own", "shop", "dead", 2),
    ]
    reasons = dict(rows(home, "SELECT name, reason FROM deliveries"))
    assert reasons["deployed.final"] == (
        "an error that the policy calls final: KeyError: 'it never will'"
    )
    assert "a retry would come after max_age (30m)" in reasons["deployed.old"]
    assert len(rows(home, f"SELECT 1 FROM events WHERE type = '{DEAD}'")) == 8


KILLER = """
import os

from receiver import on


@on("load.kills", attempts=2)
async def kill(event: dict) -> None:
    os._exit(9)
"""


def test_what_kills_its_process_every_time_is_dead_and_told(tmp_path: Path) -> None:
    home = write_home(
        tmp_path / "home",
        handlers=KILLER,
        settings=f'[[routes]]\nmatch = "{DEAD}"\nnotify = "file"\n'
        'title = "{{ event.data.name }}: {{ event.data.error_class }}"\n',
    )
    with serving(home) as serve:
        # It may die before it answers: what it accepted is committed all the same.
        threading.Thread(target=_post_quietly, args=(serve, event_body("x", "load.kills"))).start()
        assert serve.wait() == 9
    again = Serve(home)
    try:
        assert again.wait() == 9
    finally:
        again.process.kill()
    with serving(home):
        settle(home, UNFINISHED)
    (line,) = (home / "messages.jsonl").read_text().splitlines()
    assert json.loads(line)["title"] == "deployed.kill: WorkerDied"
    assert rows(home, "SELECT attempts, state FROM deliveries WHERE name = 'deployed.kill'") == [
        (2, "dead")
    ]


def _post_quietly(serve: Serve, body: bytes) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        serve.post(body)


def test_no_sender_can_raise_clarihooks_own_event(tmp_path: Path) -> None:
    home = write_home(
        tmp_path / "home",
        settings=f'[[routes]]\nmatch = "{DEAD}"\nnotify = "file"\n'
        f'[sources.keeps]\nscheme = "claribi"\nsecrets = ["{SECRET}"]\nmalformed = "store"\n',
    )
    with serving(home) as serve:
        status, answer = serve.post(event_body("x", DEAD))
        assert (status, answer["error"]) == (400, "validation_error")
        assert "are clarihook's own" in answer["detail"]
        assert serve.post(event_body("x", DEAD), source="keeps")[0] == 202
        assert serve.post(event_body("x", DEAD), source="clarihook")[0] == 404
        assert serve.post(event_body("x"))[0] == 202  # behind them: they have reached nobody
        settle(home, UNFINISHED)
    assert rows(home, "SELECT source, type FROM events ORDER BY seq") == [
        ("keeps", "clarihook.malformed"), ("claribi", "load.sent"),
    ]  # fmt: skip
    assert rows(home, "SELECT DISTINCT name FROM deliveries ORDER BY name") == [
        ("deployed.note",), ("file/1-file",),
    ]  # fmt: skip
