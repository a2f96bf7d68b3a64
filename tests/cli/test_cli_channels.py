"""`clarihook channels` and `clarihook route`, in a process of their own."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Clarihook = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made-up-token-of-a-target"


class _Answer(BaseHTTPRequestHandler):
    """The status that the path names; every body is kept."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(int(self.path.strip("/").partition("?")[0]))
        self.send_header("Content-Length", "0")
        if self.path.startswith("/429"):
            self.send_header("Retry-After", "30")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    server.bodies = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path, web: ThreadingHTTPServer) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/mine.py").write_text(
        'from receiver import on\n\n@on("billing.*")\nasync def warn(event: dict) -> None: ...\n'
    )
    url = f"json://127.0.0.1:{web.server_port}"
    (tmp_path / "config/clarihook.toml").write_text(f"""
[sources.claribi]
scheme = "claribi"
secrets = ["a made-up secret for tests"]
[channels.ops]
urls = ["{url}/200?+X-Token={SECRET}", "file://data/messages.jsonl"]
rate = "5/s"
[channels.broken]
urls = ["{url}/401?+X-Token={SECRET}", "{url}/503"]
[[routes]]
match = "billing.*"
when = "event.data.remaining < 100"
notify = ["ops", "broken"]
severity = "warning"
title = "Only {{{{ event.data.remaining }}}} left"
body = "{{{{ event.data.plan }}}}"
[[routes]]
match = "billing.*"
when = "event.data.remaining < 10"
notify = ["ops"]
[[routes]]
match = "report.*"
notify = ["ops"]
""")
    return tmp_path


def test_a_test_goes_to_each_target_and_says_how_it_ended(
    home: Path, clarihook: Clarihook, web: ThreadingHTTPServer
) -> None:
    result = clarihook("channels", "test", "ops", "broken/2-json", "ops/2-file", "--json")
    assert result.returncode == 1
    rows = {row["target"]: row for row in json.loads(result.stdout)}
    assert {name: (row["outcome"], row["status_code"]) for name, row in rows.items()} == {
        "ops/1-json": ("delivered", 200),
        "ops/2-file": ("delivered", None),
        "broken/2-json": ("transient", 503),
    }
    titles = [body["title"] for body in web.bodies]  # type: ignore[attr-defined]
    assert sorted(titles) == ["[TEST] broken/2-json", "[TEST] ops/1-json"]
    assert len((home / "data/messages.jsonl").read_text().splitlines()) == 1, "each target once"


def test_a_test_shows_the_http_cause_and_no_secret(home: Path, clarihook: Clarihook) -> None:
    result = clarihook("channels", "test", "broken/1-json")
    assert result.returncode == 1
    assert result.stdout.startswith("broken/1-json: permanent, HTTP 401, ")
    assert SECRET not in result.stdout + result.stderr


def test_a_test_that_arrives_ends_with_0(home: Path, clarihook: Clarihook) -> None:
    result = clarihook("channels", "test", "ops", "--severity", "critical", "--text", "Hello")
    assert result.returncode == 0
    line = json.loads((home / "data/messages.jsonl").read_text())
    assert (line["title"], line["body"], line["severity"]) == (
        "[TEST] ops/2-file", "Hello", "critical",
    )  # fmt: skip


def test_each_way_to_fail_has_its_cause(
    home: Path, clarihook: Clarihook, web: ThreadingHTTPServer
) -> None:
    with socket.socket() as mute:  # takes connections and says nothing
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port, silent = web.server_port, mute.getsockname()[1]
        urls = [
            f"json://127.0.0.1:{port}/404", f"json://127.0.0.1:{port}/429",
            "json://127.0.0.1:9/", "json://no-such-host.invalid/", f"jsons://127.0.0.1:{port}/",
            f"json://127.0.0.1:{silent}/",
        ]  # fmt: skip
        with (home / "config/clarihook.toml").open("a") as file:
            file.write(f'[channels.bad]\nurls = {json.dumps(urls)}\ntimeout = "2s"\n')
            file.write('quiet_hours = {from = "00:00", until = "23:59"}\nfallback = "ops"\n')
        result = clarihook("channels", "test", "bad")
    assert result.returncode == 1
    text = result.stdout
    assert "bad/1-json: permanent, HTTP 404" in text
    assert "bad/2-json: transient, HTTP 429" in text
    assert "it asks to be left alone for 30 s" in text
    assert "bad/3-json: transient" in text
    assert "Connection refused" in text
    assert "bad/4-json: transient" in text
    assert "bad/5-jsons: transient" in text
    assert "SSL" in text
    assert "bad/6-json: unknown" in text
    assert web.bodies[0]["title"].startswith("[TEST] bad/")  # type: ignore[attr-defined]
    assert not (home / "data/messages.jsonl").exists(), "no fallback gets it"
    listed = clarihook("channels", "list").stdout
    assert "bad: quiet hours 00:00 to 23:59 UTC; fallback ops" in listed


def test_a_mistyped_channel_gets_the_nearest_name(home: Path, clarihook: Clarihook) -> None:
    result = clarihook("channels", "test", "opps")
    assert result.returncode == 2
    assert result.stderr == 'error: there is no channel or target "opps"; did you mean "ops"?\n'


def test_channels_are_listed_without_a_database_and_without_secrets(
    home: Path, clarihook: Clarihook
) -> None:
    rows = json.loads(clarihook("channels", "list", "--json").stdout)
    assert [row["target"] for row in rows] == [
        "ops/1-json", "ops/2-file", "broken/1-json", "broken/2-json",
    ]  # fmt: skip
    assert {row["circuit"] for row in rows} == {"closed"}
    text = clarihook("channels", "list").stdout
    assert "ops/1-json" in text
    assert SECRET not in text
    assert not (home / "data/clarihook.db").exists()


def test_a_route_is_explained_rule_by_rule(
    home: Path, clarihook: Clarihook, web: ThreadingHTTPServer
) -> None:
    result = clarihook("route", "--type", "billing.credits_low", "--data", '{"remaining": 50}')
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "billing.credits_low from claribi",
        "handlers: mine.warn",
        "route 1: billing.* when event.data.remaining < 100: yes",
        "  note: its body failed, a plain one was sent: 'dict object' has no attribute 'plan'",
        "  ops (ops/1-json, ops/2-file), warning, text:",
        "    Only 50 left",
        "    remaining: 50",
        "  broken (broken/1-json, broken/2-json), warning, text:",
        "    Only 50 left",
        "    remaining: 50",
        "route 2: billing.* when event.data.remaining < 10: no, `when` is false",
        'route 3: report.*: no, its match "report.*" does not fit the type "billing.credits_low"',
    ]
    assert web.bodies == [], "nothing is sent"  # type: ignore[attr-defined]


def test_a_file_is_routed_and_what_is_no_event_is_refused(home: Path, clarihook: Clarihook) -> None:
    (home / "event.json").write_text('{"event": "report.generated", "data": {}}')
    document = json.loads(clarihook("route", "event.json", "--json").stdout)
    assert [row["takes"] for row in document["routes"]] == [False, False, True]
    (message,) = document["routes"][2]["messages"]
    assert [each["target"] for each in message["targets"]] == ["ops/1-json", "ops/2-file"]

    (home / "list.json").write_text("[1]")
    for arguments, said in [
        (["list.json"], "list.json holds no event"),
        (["missing.json"], "missing.json can't be read: No such file"),
        ([], "give the event: its id, a file with its body, or --type"),
        (["event.json", "--source", "clarbi"], 'there is no source "clarbi"; did you mean "clari'),
        (["event.json", "--data", "{}"], "--data goes with --type"),
    ]:
        result = clarihook("route", *arguments)
        assert result.returncode == 2
        assert said in result.stderr


def test_a_route_for_clarihooks_own_events_can_be_tried(home: Path, clarihook: Clarihook) -> None:
    with (home / "config/clarihook.toml").open("a") as file:
        file.write('[[routes]]\nsource = "clarihook"\nnotify = ["ops"]\n')
    dead = ("route", "--type", "clarihook.delivery.dead", "--data", '{"name": "mine.warn"}')
    for source, takes in (("clarihook", True), ("claribi", False)):
        document = json.loads(clarihook(*dead, "--source", source, "--json").stdout)
        assert document["routes"][3]["takes"] is takes
