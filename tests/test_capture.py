"""A curl command is read as the shell and curl read it; an archive as its format says."""

import json
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.diagnose import from_curl, from_har


def no_file(name: str) -> bytes:
    raise AssertionError(f"{name} is no file of this command")


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(TEXTS, st.lists(TEXTS.filter(str.strip), max_size=2))
def test_whatever_is_quoted_comes_back(body: str, values: list[str]) -> None:
    headers = " ".join(f"-H {shlex.quote(f'X-{n}:{value}')}" for n, value in enumerate(values))
    command = f"curl {headers} --data-raw {shlex.quote(body)} https://example.com/"
    found = from_curl(command, no_file)
    assert found.body == body.encode()
    assert found.headers == [(f"X-{n}", value.strip()) for n, value in enumerate(values)]


@given(st.text(max_size=60))
def test_any_text_is_a_request_or_a_value_error(text: str) -> None:
    for command in (text, f"curl {text}"):
        try:
            from_curl(command, lambda _: b"")
        except ValueError:
            continue


class Recorder(BaseHTTPRequestHandler):
    """Keeps what came."""

    came: ClassVar[dict[str, Any]] = {}

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        self.came["body"] = self.rfile.read(length)
        self.came["headers"] = {k.lower(): v for k, v in self.headers.items()}
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


COMMANDS = [
    """curl URL -H 'X-A: one' -d '{"a": 1}'""",
    """curl -sS -X POST -HX-A:one --data-binary @body URL""",
    """curl URL --header "X-A: a b" -d @body -d 'more=1'""",
    """curl 'URL' -H "X-A: \\"q\\" \\$x" --json '{"a": "b c"}' --compressed""",
    """curl 'URL' \\
  -H 'x-a: é' \\
  --data-raw $'{"name":"M\\u00fcller\\'s","t":"a\\tb\\\\n"}' -k""",
    """curl --url URL --data-raw @body -H 'X-A: one' -H 'User-Agent:' -m 5""",
    """curl URL -d it\\'s -d "a  b"''c -H @heads""",
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_read_is_what_curl_sends(command: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b'{"from": "a file",\r\n "x": 2}\n')
    (tmp_path / "heads").write_text("X-A: from a file\nX-B: two\n")
    command = command.replace("URL", url)
    Recorder.came = came = {}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=30,
                   capture_output=True)  # fmt: skip
    found = from_curl(command, lambda name: (tmp_path / name).read_bytes())
    assert found.body == came["body"]
    for name, value in found.headers:
        assert came["headers"][name.lower()].encode("latin-1") == value.encode()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("", "does not begin with curl"),
        ("http POST x", "does not begin with curl"),
        ("curl -F a=@file x", "-F makes a body that is not in the command"),
        ('curl -d "x', 'a " is not closed'),
        ("curl -d $'x", "a $' is not closed"),
        ("curl -d $'\\xzz'", "without digits"),
    ],
)
def test_what_is_no_such_command_is_refused(command: str, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("$", r"\$")):
        from_curl(command, no_file)


ENTRY = {
    "startedDateTime": "2026-11-23T15:00:00Z",
    "request": {
        "headers": [{"name": "X-A", "value": "one"}],
        "postData": {"mimeType": "application/json", "text": "eyJhIjogMX0=", "encoding": "base64"},
    },
}
GET = {"request": {"headers": []}}


def test_the_only_entry_with_a_body_is_meant() -> None:
    found = from_har(json.dumps({"log": {"entries": [GET, ENTRY, GET]}}), None)
    assert (found.body, found.headers) == (b'{"a": 1}', [("X-A", "one")])
    assert found.at == 1795446000.0
    assert from_har(json.dumps(ENTRY), None) == found
    assert from_har(json.dumps({"log": {"entries": [GET, ENTRY]}}), 1).body == b""


@pytest.mark.parametrize(
    ("document", "number", "text"),
    [
        ({"log": {"entries": [ENTRY, ENTRY]}}, None, "say which entry: --entry N; .* are: 1, 2"),
        ({"log": {"entries": []}}, None, "those with a body are: none"),
        ({"log": {"entries": [ENTRY]}}, 2, "there is no entry 2; it has 1"),
        ([], None, "neither an HTTP archive"),
        ({"log": 1}, None, "neither an HTTP archive"),
    ],
)
def test_what_is_no_archive_is_refused(document: Any, number: int | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        from_har(json.dumps(document), number)
