"""`clarihook events forward`: every event once, in order, whatever the target does."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from live_deployment import Deployment, eventually

from receiver.signatures import SchemeSpec, build_scheme

SECRET = "a made-up secret for tests"


Request = tuple[dict[str, str], bytes]


class Target(ThreadingHTTPServer):
    """Keeps what it gets, and answers as it is told."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.got: list[Request] = []
        self.status = 204

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Target

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def listening(port: int = 0) -> Iterator[Target]:
    target = Target(port)
    thread = threading.Thread(target=target.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield target
    finally:
        target.shutdown()
        target.server_close()
        thread.join()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    yield deployment
    deployment.stop()


def verify(
    got: tuple[dict[str, str], bytes], scheme: str = "claribi", secret: str = SECRET
) -> None:
    headers, body = got
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    now = float(headers["x-claribi-signature"].partition(",")[0][2:]) if scheme == "claribi" else 0
    build_scheme(SchemeSpec(scheme=scheme), [secret]).verify(raw, body, now)


def test_what_comes_goes_on_signed_anew_with_its_own_bytes(deployment: Deployment) -> None:
    with listening() as target:
        with deployment.popen("events", "forward", "--to", target.url, "--json") as process:
            # It forwards from its start on, so one event of before shows that it has begun.
            assert process.stdout is not None
            ids: list[str] = []
            eventually(lambda: ids.extend(deployment.send("good.a")) or target.got)
            for number in range(3):
                ids += deployment.send("good.b", "--data", json.dumps({"n": number}))
            told = []
            for line in process.stdout:
                told.append(json.loads(line))
                if told[-1]["id"] == ids[-1]:
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, ""), err
    sent = [each["id"] for each in told]
    assert sent == ids[-len(sent) :], "in the order in which they came, none twice"
    assert {each["status"] for each in told} == {204}
    for event_id, got in zip(sent, target.got, strict=True):
        assert got[1].decode() == deployment.json("events", "show", event_id)["body"]
        verify(got)
        assert got[0]["user-agent"] == "clarihook-events-send"


def test_a_target_that_is_down_stops_nothing_and_since_catches_up(deployment: Deployment) -> None:
    with listening() as target:
        port, url = target.server_address[1], target.url
    ids = deployment.send("good.a", "--count", "2")
    down = deployment.run("events", "forward", "--to", url, "--since", "1h", "--count", "2")
    assert down.returncode == 1
    assert down.stdout.count("no answer: ") == 2
    assert "2 sent: 2 with no answer" in down.stdout
    assert "go on from here: --since 20" in down.stdout
    assert down.stderr.count("warning: later ones are tried all the same") == 1
    with listening(port) as target:
        again = deployment.run("events", "forward", "--to", url, "--since", "1h", "--count", "2")
        assert again.returncode == 0, again.stderr
        assert "2 sent: 2 with 204" in again.stdout
        assert len(target.got) == 2
        since = down.stdout.rpartition("--since ")[2].strip()
        target.status = 500
        no = deployment.run("events", "forward", "--to", url, "--since", since, "--count", "1")
        assert no.returncode == 1
        assert any(f"{each}  good.a  500" in no.stdout for each in ids)
        assert len(target.got) == 3, "each is tried once"


def test_headers_as_they_came_or_signed_for_another(deployment: Deployment) -> None:
    (event_id,) = deployment.send("good.a")
    options = ("--since", "1h", "--count", "1")
    with listening() as target:
        to = ("events", "forward", "--to", target.url, *options)
        other = ("--scheme", "github", "--secret", "quite another secret")
        assert deployment.run(*to, "--as-received").returncode == 0
        assert deployment.run(*to, *other).returncode == 0
        assert deployment.run(*to, "--type", "good.*", "--source", "claribi").returncode == 0
    came = dict(deployment.json("events", "show", event_id)["headers"])
    assert target.got[0][0]["x-claribi-signature"] == came["x-claribi-signature"]
    verify(target.got[1], "github", "quite another secret")
    verify(target.got[2])


def test_what_clarihook_raised_itself_is_forwarded_only_if_it_is_named(
    deployment: Deployment,
) -> None:
    deployment.send("bad.b")
    own = ("--type", "clarihook.*")
    eventually(lambda: deployment.json("events", "list", *own)["events"])
    deployment.send("good.a")
    with listening() as target:
        to = ("events", "forward", "--to", target.url, "--since", "1h", "--as-received")
        assert deployment.run(*to, "--count", "2").returncode == 0
        assert deployment.run(*to, "--count", "1", *own).returncode == 0
    types = [json.loads(body)["event"] for _, body in target.got]
    assert types == ["bad.b", "good.a", "clarihook.delivery.dead"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--to", "localhost:3000"], "--to localhost:3000: write an http:// or https:// address"),
        (["--to", "http://10.0.0.1/"], "10.0.0.1 is a private address; if meant, --allow-private"),
        (["--to", "http://localhost:1/", "--since", "soon"], "--since: 'soon' is no time"),
        (
            ["--to", "http://localhost:1/", "--as-received", "--secret", "x" * 16],
            "--as-received keeps the signature that came",
        ),
    ],
)
def test_user_errors_say_what_to_do(tmp_path: Path, options: list[str], text: str) -> None:
    deployment = Deployment(tmp_path / "home")
    assert deployment.call("db", "migrate").returncode == 0
    result = deployment.call("events", "forward", *options)
    assert (result.returncode, text in result.stderr) == (2, True), result.stderr
