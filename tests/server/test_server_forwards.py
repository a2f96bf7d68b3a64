"""A forward outlives its process: nothing of it is lost, and no wait that was asked for."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from forward_sink import SECRET, ForwardSink, forward_sink
from serve_process import event_body, opened, serving, settle, write_home

NOBODY_DID = "SELECT count(*) = 0 FROM deliveries WHERE name = 'forward/audit' AND state = '{}'"


@pytest.fixture
def sink() -> Iterator[ForwardSink]:
    with forward_sink() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, sink: ForwardSink) -> Path:
    return write_home(
        tmp_path,
        handlers="",
        settings=f'[[routes]]\nname = "audit"\nforward = "{sink.url}"\n'
        f'forward_secret = "{SECRET}"\nallow_private = true\n',
    )


def until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_server_killed_in_the_middle_sends_again_with_the_same_id(
    home: Path, sink: ForwardSink
) -> None:
    sink.answers_nobody.set()
    with serving(home) as server:
        status, answer = server.post(body := event_body("one"))
        assert status == 202
        until(lambda: sink.taken)
        server.kill()
    sink.answers_nobody.clear()
    with serving(home):
        settle(home, NOBODY_DID.format("succeeded"))
    assert len(sink.taken) == 2
    for headers, taken in sink.taken:
        assert taken == body
        assert headers["webhook-id"] == answer["id"]
        standardwebhooks.Webhook(SECRET).verify(taken, headers)


def test_a_wait_that_was_asked_for_holds_over_a_restart(home: Path, sink: ForwardSink) -> None:
    sink.answers = [(429, {"Retry-After": "1200"})]
    due = "SELECT state, due_at / 1000 - ?, attempts FROM deliveries WHERE name = 'forward/audit'"
    now = int(time.time())
    with serving(home) as server:
        assert server.post(event_body("one"))[0] == 202
        settle(home, NOBODY_DID.format("retrying"))
        server.stop()
    with serving(home) as server, opened(home) as database:
        # What comes for it now waits too.
        assert server.post(event_body("two"))[0] == 202
        settle(home, NOBODY_DID.format("pending"))
        server.stop()
        (state, wait, attempts), (others_state, _, others) = database.execute(
            f"{due} ORDER BY id", (now,)
        ).fetchall()
    assert (state, attempts) == ("retrying", 1)
    assert 1200 <= wait < 1300
    assert (others_state, others) == ("pending", 0)
    assert len(sink.taken) == 1
