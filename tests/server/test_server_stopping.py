"""Starting and stopping `clarihook serve`: in order, in time, with a clear word when it can't."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from serve_process import (
    SECRET,
    Load,
    Serve,
    event_body,
    measured,
    opened,
    serving,
    settle,
    sign,
    write_home,
)

DRAIN = '[server]\ndrain_timeout = "2s"\n'

MARGIN_SECONDS = 8
"""What a stop may take on a busy machine beyond its drain timeout; on an idle one it is below 2."""

HANGING = """
import asyncio
import time
from pathlib import Path

from receiver import on

HOME = Path(__file__).parents[1]


@on("test.polite")
async def polite(event: dict) -> None:
    (HOME / "begun").touch()
    while not (HOME / "go").exists():
        await asyncio.sleep(0.02)
    (HOME / "ended").touch()


@on("test.long")
async def long(event: dict) -> None:
    (HOME / "begun").touch()
    await asyncio.sleep(3600)


@on("test.stubborn")
async def stubborn(event: dict) -> None:
    (HOME / "begun").touch()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@on("test.thread")
def thread(event: dict) -> None:
    (HOME / "begun").touch()
    time.sleep(3600)


@on("test.abandoned", timeout="50ms", schedule=["1h"])
async def abandoned(event: dict) -> None:
    await stubborn(event)


@on("test.abandoned_thread", timeout="50ms", schedule=["1h"])
def abandoned_thread(event: dict) -> None:
    thread(event)
"""


def appears(path: Path, seconds: float = 20) -> None:
    """Wait for what another process touches."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.01)


def deliveries(home: Path) -> list[tuple[str, int, int]]:
    with opened(home) as database:
        return database.execute(
            "SELECT state, attempts - attempts_forgiven, (SELECT count(*) FROM attempts "
            "WHERE delivery_id = deliveries.id) FROM deliveries"
        ).fetchall()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_answers_what_is_in_flight_and_loses_nothing(
    tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A7: no answer but 202 and, of what came too late, 503 with the word draining."""
    home = write_home(tmp_path / "home", settings=DRAIN)
    with serving(home) as serve:
        load = Load(serve, "load", enough=300)
        assert load.has_begun.wait(20)
        begun = time.monotonic()
        serve.signal(number)
        status = serve.wait()
        seconds = time.monotonic() - begun
        load.end()
        assert status == 0, serve.said
        assert seconds < 2 + MARGIN_SECONDS
        assert "Traceback" not in serve.said
    assert set(load.statuses) <= {202, 503}
    with opened(home) as database:
        stored = dict(database.execute("SELECT id, body FROM events").fetchall())
        left = database.execute(
            "SELECT count(*) FROM deliveries WHERE state = 'running' OR attempts > 1"
        ).fetchone()[0]
    assert load.accepted.items() <= stored.items()
    assert left == 0, "nothing was cut, nothing looks as if it ran"
    measured(capsys, f"{signal.Signals(number).name} under load: {load.statuses}, "
             f"{load.cut} unanswered, ended in {seconds:.2f} s")  # fmt: skip


def test_a_running_handler_may_finish(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANGING)
    with serving(home) as serve:
        assert serve.post(event_body("a", "test.polite"))[0] == 202
        appears(home / "begun")
        serve.signal(signal.SIGTERM)
        (home / "go").touch()
        assert serve.wait() == 0
    assert (home / "ended").exists()
    assert deliveries(home) == [("succeeded", 1, 1)]


def test_a_handler_that_takes_too_long_is_given_back_and_not_counted(tmp_path: Path) -> None:
    settings = '[server]\ndrain_timeout = "300ms"\n'
    home = write_home(tmp_path / "home", handlers=HANGING, settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("a", "test.long"))[0] == 202
        appears(home / "begun")
        begun = time.monotonic()
        assert serve.stop() == 0
        assert time.monotonic() - begun < 0.3 + MARGIN_SECONDS
    ((state, _, attempts),) = deliveries(home)
    assert (state, attempts) == ("pending", 0)
    with opened(home) as database:
        row = database.execute("SELECT attempts FROM deliveries").fetchone()
    assert row == (0,), "the attempt is not counted"


@pytest.mark.parametrize("kind", ["test.stubborn", "test.thread"])
def test_a_handler_that_can_not_be_stopped_does_not_keep_the_process(
    tmp_path: Path, kind: str
) -> None:
    settings = '[server]\ndrain_timeout = "200ms"\n'
    home = write_home(tmp_path / "home", handlers=HANGING, settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("a", kind))[0] == 202
        appears(home / "begun")
        begun = time.monotonic()
        assert serve.stop() == 0, serve.said
        assert time.monotonic() - begun < 0.2 + MARGIN_SECONDS
        assert "Traceback" not in serve.said
    ((state, _, _),) = deliveries(home)
    assert state in ("pending", "retrying"), "it is run again"


@pytest.mark.parametrize("kind", ["test.abandoned", "test.abandoned_thread"])
def test_abandoned_runs_keep_no_stop_and_their_end_is_kept(tmp_path: Path, kind: str) -> None:
    settings = '[server]\ndrain_timeout = "60s"\n'
    home = write_home(tmp_path / "home", handlers=HANGING, settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("a", kind))[0] == 202
        settle(home, "SELECT count(*) FROM deliveries WHERE state <> 'retrying'")
        begun = time.monotonic()
        assert serve.stop() == 0, serve.said
        assert time.monotonic() - begun < MARGIN_SECONDS, "it does not wait for what is given up"
        assert "Traceback" not in serve.said
        assert "handler.abandoned" in serve.said
    assert deliveries(home) == [("retrying", 1, 1)]
    with opened(home) as database:
        row = database.execute("SELECT outcome, error_class FROM attempts").fetchone()
    assert row == ("unknown", "TimeoutError")


@pytest.mark.parametrize("kind", ["test.long", "test.stubborn", "test.thread"])
def test_a_second_signal_stops_at_once_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    settings = '[server]\ndrain_timeout = "60s"\n'
    home = write_home(tmp_path / "home", handlers=HANGING, settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("a", kind))[0] == 202
        appears(home / "begun")
        serve.signal(signal.SIGTERM)
        address = serve.address
        assert address is not None
        while True:  # until it stops to listen: the first signal has been heard
            with socket.socket() as probe:
                if probe.connect_ex(address) != 0:
                    break
        serve.signal(signal.SIGINT)
        assert serve.wait(5) == 1
        assert "server.forced" in serve.said
        assert "Traceback" not in serve.said
    (home / "begun").unlink()
    with serving(home) as serve:
        appears(home / "begun")  # taken up again
        serve.kill()


def test_a_half_sent_body_does_not_keep_the_process(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", settings='[server]\ndrain_timeout = "400ms"\n')
    body = event_body("a")
    with serving(home) as serve:
        assert serve.address is not None
        with socket.create_connection(serve.address, timeout=20) as half:
            half.sendall(
                f"POST /hooks/claribi HTTP/1.1\r\nHost: t\r\nX-ClariBI-Signature: {sign(body)}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body[:5]
            )
            idle = socket.create_connection(serve.address, timeout=20)
            # Both are seen by the server before this one is answered.
            assert serve.post(event_body("b"))[0] == 202
            serve.signal(signal.SIGTERM)
            reply = http.client.HTTPResponse(half)
            reply.begin()
            answer = json.loads(reply.read())
            assert (reply.status, answer["error"]) == (503, "service_unavailable")
            assert reply.getheader("Retry-After") == "5"
            assert idle.recv(1) == b""
            idle.close()
            reply.close()
        assert serve.wait() == 0
        assert "Traceback" not in serve.said


def test_work_goes_on_after_a_restart(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", settings="[dispatch]\nenabled = false\n")
    with serving(home) as serve:
        assert [serve.post(event_body(str(n)))[0] for n in range(5)] == [202] * 5
        assert serve.stop() == 0
    assert not (home / "handled").exists()
    toml = home / "config" / "clarihook.toml"
    toml.write_text(toml.read_text().replace("enabled = false", "enabled = true"))
    with serving(home) as serve:
        settle(home, "SELECT count(*) FROM deliveries WHERE state <> 'succeeded'")
        assert serve.stop() == 0
    assert len((home / "handled").read_text().split()) == 5


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        serve = Serve(home, "--port", str(port))
        assert serve.wait() == 2
    assert f"can't listen on 127.0.0.1:{port}" in serve.said
    assert "--port" in serve.said
    assert "Traceback" not in serve.said


def test_a_home_without_settings_is_a_clear_error(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    assert serve.wait() == 2
    assert "clarihook.toml" in serve.said
    assert "clarihook init" in serve.said
    assert "Traceback" not in serve.said


def test_a_source_without_a_secret_does_not_start(tmp_path: Path) -> None:
    """R15: fail closed."""
    home = write_home(tmp_path / "home")
    toml = home / "config" / "clarihook.toml"
    toml.write_text(toml.read_text().replace(SECRET, "short"))
    serve = Serve(home)
    assert serve.wait() == 2
    assert "Traceback" not in serve.said
    assert not (home / "data").exists()


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """A12."""
    home = write_home(tmp_path / "home")
    with serving(home) as first:
        second = Serve(home)
        assert second.wait() == 1
        assert f"process {first.process.pid} is serving this database already" in second.said
        assert "Traceback" not in second.said
        assert first.post(event_body("a"))[0] == 202, "the first one is not disturbed"
        first.kill()
        with serving(home) as third:
            assert third.post(event_body("b"))[0] == 202
            assert third.stop() == 0


def test_what_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home")
    (home / "data").mkdir()
    (home / "data" / "clarihook.db").write_bytes(b"made-up bytes, and no database" * 100)
    serve = Serve(home)
    assert serve.wait() == 1
    assert "is not a SQLite database" in serve.said
    assert "Traceback" not in serve.said


def test_a_signal_while_it_starts_is_heard(tmp_path: Path) -> None:
    """Whenever the signal comes, it ends, and not with a traceback."""
    home = write_home(tmp_path / "home")
    for wait in (0.05, 0.3, 0.5):
        serve = Serve(home)
        threading.Event().wait(wait)  # the moment is what is varied here
        serve.signal(signal.SIGTERM)
        assert serve.wait() in (0, -signal.SIGTERM)
        assert "Traceback" not in serve.said


def test_start_and_memory_when_idle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_home(tmp_path / "home")
    with serving(home) as serve:
        assert serve.post(event_body("a"))[0] == 202
        settle(home, "SELECT count(*) FROM deliveries WHERE state <> 'succeeded'")
        memory = serve.memory_bytes()
        assert memory < 120_000_000
        measured(
            capsys,
            f"ready after {serve.start_seconds:.2f} s on {os.cpu_count()} CPUs; "
            f"idle memory {memory / 1e6:.0f} MB",
        )
        assert serve.stop() == 0
