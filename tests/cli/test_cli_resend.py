"""`clarihook replay --to URL`: the exact bytes, signed anew or as they came."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from live_deployment import Deployment
from standardwebhooks import Webhook

from receiver.signatures import SchemeSpec, build_scheme


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Deployment]]:
    """One that has five events, and one that accepts them; both servers run."""
    one = Deployment(tmp_path_factory.mktemp("one"))
    two = Deployment(tmp_path_factory.mktemp("two"))
    one.serve("--no-reload")  # a test changes its settings for the command alone
    two.serve()
    try:
        one.send("good.a", "--count", "5", "--data", '{"name": "Müller"}')
        yield one, two
    finally:
        one.stop()
        two.stop()


def bodies(deployment: Deployment) -> set[str]:
    events = deployment.json("events", "list")["events"]
    return {deployment.json("events", "show", event["id"])["body"] for event in events}


def test_another_receiver_accepts_them_byte_for_byte(pair: tuple[Deployment, Deployment]) -> None:
    one, two = pair
    to = ("--to", f"{two.origin}/hooks/claribi")
    result = one.call("replay", "run", "--type", "good.*", *to)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("5 sent: 5 with 202; p50 ")
    assert bodies(two) == bodies(one)
    again = one.json("replay", "run", "--type", "good.*", "--limit", "2", "--as-received", *to)
    assert [sent["status"] for sent in again["sent"]] == [200, 200]
    assert one.json("replay", "list")["replays"] == []


def test_a_refusal_ends_with_1(pair: tuple[Deployment, Deployment]) -> None:
    one, two = pair
    result = one.call("replay", "run", "--type", "good.*", "--to", f"{two.origin}/hooks/nowhere")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith("5 sent: 5 with 404")


def test_what_cannot_be_signed_says_so_and_stops_no_other(
    pair: tuple[Deployment, Deployment],
) -> None:
    one, two = pair
    config = one.home / "config/clarihook.toml"
    text = config.read_text()
    config.write_text(text.replace("[sources.claribi]", "[sources.renamed]"))
    try:
        to = ("--to", f"{two.origin}/hooks/claribi")
        result = one.call("replay", "run", "--type", "good.*", *to)
        assert result.returncode == 1
        assert result.stdout.count("source 'claribi' is not in the settings") == 5
        assert one.call("replay", "run", "--type", "good.*", "--as-received", *to).returncode == 0
    finally:
        config.write_text(text)


class Recorder:
    """A server that answers as it is told, and keeps every request."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[list[tuple[str, str]], bytes]] = []
        recorder = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                recorder.requests.append((self.headers.items(), body))
                status, headers = recorder.answers.pop(0) if recorder.answers else (204, {})
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    try:
        yield recorder
    finally:
        recorder.close()


def test_it_goes_out_with_the_headers_that_it_came_with(
    pair: tuple[Deployment, Deployment], recorder: Recorder
) -> None:
    """Nothing is added but what the connection needs."""
    one, _ = pair
    url = f"{one.origin}/hooks/claribi"
    body = b'{"event": "exact.a", "data": {}}'
    scheme = build_scheme(SchemeSpec(scheme="claribi"), ["a made-up secret for tests"])
    headers = {"X-Odd": "caf\xe9, twice  spaced", "User-Agent": "claribi/7"}
    headers |= dict(scheme.sign(body, message_id="m", now=time.time()))
    raw = {name.encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}
    assert httpx2.post(url, content=body, headers=raw, trust_env=False).status_code == 202
    sent = one.json("replay", "run", "--type", "exact.a", "--to", recorder.url, "--as-received")
    assert (sent["statuses"], sent["sent"][0]["attempts"]) == ({"204": 1}, 1)
    ((came, came_body),) = recorder.requests
    assert came_body == body
    given = {name.lower(): value for name, value in came}
    stored = dict(one.json("events", "list", "--type", "exact.a")["events"][0])
    shown = one.json("events", "show", stored["id"])["headers"]
    connection = {"host", "content-length", "connection", "accept-encoding"}
    assert {k: v for k, v in given.items() if k not in connection} == {
        k: v for k, v in shown if k not in connection
    }
    assert given["x-odd"] == "caf\xe9, twice  spaced"


def test_another_scheme_and_secret_sign_it_for_another_receiver(
    pair: tuple[Deployment, Deployment], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own library says so; the old signature is gone."""
    one, _ = pair
    monkeypatch.setenv("ANOTHER", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    to = ("--type", "good.*", "--to", recorder.url)
    document = one.json(
        "replay",
        "run",
        *to,
        "--scheme",
        "standard",
        "--secret",
        "env:ANOTHER",
        "--concurrency",
        "2",
    )
    assert document["statuses"] == {"204": 5}
    assert document["p50_ms"] <= document["p99_ms"]
    assert len({dict(headers)["webhook-id"] for headers, _ in recorder.requests}) == 5
    for headers, body in recorder.requests:
        names = {name.lower() for name, _ in headers}
        assert "x-claribi-signature" not in names
        Webhook("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").verify(body, dict(headers))


def test_a_busy_receiver_is_tried_again_and_a_broken_one_is_told(
    pair: tuple[Deployment, Deployment], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.resend.RETRY_SECONDS", 0.0)
    one, _ = pair
    to = ("--type", "good.*", "--limit", "1", "--to", recorder.url)
    recorder.answers = [(503, {}), (429, {"retry-after": "0"}), (200, {})]
    result = one.call("replay", "run", *to)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].endswith("at attempt 3")
    recorder.answers = [(500, {})] * 3
    assert one.json("replay", "run", *to)["statuses"] == {"500": 1}
    recorder.answers = [(302, {"location": "/elsewhere"})]
    refused = one.call("replay", "run", *to)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1].startswith("1 sent: 1 with 302")
    assert len(recorder.requests) == 7
    recorder.close()
    silent = one.call("replay", "run", *to)
    assert silent.stdout.splitlines()[-1] == "1 sent: 1 with no answer"


def test_what_does_not_go_together_is_refused(pair: tuple[Deployment, Deployment]) -> None:
    one, _ = pair
    to = ("--to", "http://127.0.0.1:9/")
    for options, text in (
        (("--scheme", "github"), "--scheme, --secret, --as-received and --allow-private are for"),
        ((*to, "--scheme", "github"), "--scheme and --secret go together"),
        ((*to, "--scheme", "githib", "--secret", "x" * 20), 'scheme "githib" is unknown'),
        ((*to, "--scheme", "github", "--secret", "env:NOWHERE"), "NOWHERE"),
        ((*to, "--as-received", "--scheme", "github", "--secret", "x"), "--as-received signs"),
        ((*to, "--no-notify"), "--to sends the events themselves and runs nothing"),
        ((*to, "--handler", "mine.keep"), "--to sends the events themselves and runs nothing"),
        (("--to", "http://10.0.0.1/"), "10.0.0.1 is a private address; if meant, --allow-private"),
        (("--to", "ftp://x/"), "write an http:// or https:// address"),
    ):
        result = one.call("replay", "run", "--type", "good.*", *options)
        assert (result.returncode, result.stdout) == (2, ""), options
        assert text in result.stderr
    shown = one.call("replay", "run", "--type", "good.*", "--dry-run", *to)
    assert "POST http://127.0.0.1:9/" in shown.stdout


def test_a_password_in_the_address_is_used_and_not_shown(
    pair: tuple[Deployment, Deployment],
) -> None:
    one, two = pair
    to = f"{two.origin}/hooks/claribi".replace("://", "://ann:hunter2@")
    for arguments in (["--dry-run"], ["--dry-run", "--json"], ["--json"]):
        result = one.call(
            "replay", "run", "--type", "good.*", "--limit", "1", "--to", to, *arguments
        )
        assert result.returncode == 0, result.stderr
        assert "hunter2" not in result.stdout + result.stderr
        assert "***@" in result.stdout
