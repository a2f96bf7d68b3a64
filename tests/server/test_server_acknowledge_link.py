"""The link in a message that escalates: looking changes nothing, the button acknowledges."""

import http.client
import json
import re
import time
from pathlib import Path
from urllib.parse import urlencode

from serve_process import Serve, event_body, opened, serving, settle, write_home

from receiver.acknowledge_token import make_token
from receiver.model import EventId

SETTINGS = """
[server]
public_url = "https://hooks.example.com/"
[channels.oncall]
urls = ["file://oncall.jsonl"]
[[routes]]
match = "load.*"
notify = "file"
body = "{{ event.data.text }}"
escalate = [{ after = "1h", notify = "oncall" }]
"""
SENT = "SELECT count(*) = 0 FROM deliveries WHERE name LIKE 'file/%' AND state = 'succeeded'"
LINK = re.compile(r"https://hooks\.example\.com(/acknowledge/[\w-]{72})(?![\w-])")


def deploy(path: Path) -> Path:
    return write_home(path / "home", handlers="", settings=SETTINGS)


def ask(
    serve: Serve, method: str, path: str, body: str | None = None
) -> tuple[int, dict[str, str], str]:
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=20)
    try:
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection.request(method, path, body, kind)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()


def say(serve: Serve, home: Path, text: str = "it broke") -> tuple[str, str]:
    """Send an event; its id, and the path of the link in its message."""
    body = json.dumps({"event": "load.failed", "data": {"text": text}}).encode()
    status, answer = serve.post(body)
    assert status == 202
    settle(home, SENT)
    message = json.loads((home / "messages.jsonl").read_text("utf-8").splitlines()[-1])
    links = LINK.findall(message["body"])
    assert len(links) == 1, message["body"]
    return answer["id"], links[0]


def acknowledged(home: Path) -> list[tuple[str, str]]:
    with opened(home) as database:
        return database.execute("SELECT author, how FROM acknowledgements").fetchall()


def held(home: Path) -> int:
    with opened(home) as database:
        query = "SELECT count(*) FROM deliveries WHERE state = 'held'"
        return int(database.execute(query).fetchone()[0])


def test_looking_changes_nothing_and_the_button_acknowledges(tmp_path: Path) -> None:
    home = deploy(tmp_path)
    with serving(home, "--workers", "2") as serve:
        event_id, path = say(serve, home)
        for method in ("GET", "HEAD", "GET"):
            status, headers, page = ask(serve, method, path)
            assert status == 200
        assert (acknowledged(home), held(home)) == ([], 1)
        assert event_id in page
        assert "<form" in page
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"

        status, _, page = ask(serve, "POST", path, urlencode({"name": "Ann <b>\x1b[31m"}))
        assert (status, held(home)) == (200, 0)
        assert "You take care of it" in page
        assert "Ann &lt;b&gt;" in page
        assert "\x1b" not in page
        ((author, how),) = acknowledged(home)
        assert (author.startswith("Ann <b>"), how) == (True, "link")

        status, _, page = ask(serve, "POST", path, urlencode({"name": "Bo"}))
        assert status == 200
        assert "Somebody was faster" in page
        assert "Ann" in page
        status, _, page = ask(serve, "GET", path)
        assert "<form" not in page
        assert "It is taken care of" in page
        assert len(acknowledged(home)) == 1


def test_a_link_outlives_a_restart_and_needs_no_name(tmp_path: Path) -> None:
    home = deploy(tmp_path)
    with serving(home) as serve:
        _, path = say(serve, home)
    with serving(home) as serve:
        assert ask(serve, "POST", path, "&".join(f"field{n}=x" for n in range(100)))[0] == 200
    assert acknowledged(home) == [("somebody with the link", "link")]


def test_of_a_long_message_the_link_comes_first(tmp_path: Path) -> None:
    home = deploy(tmp_path)
    with serving(home) as serve:
        say(serve, home, "x" * 5000)
    message = json.loads((home / "messages.jsonl").read_text("utf-8"))
    assert message["body"].startswith("I take care of it: https://")


def test_a_forged_link_leads_nowhere(tmp_path: Path) -> None:
    home = deploy(tmp_path)
    with serving(home) as serve:
        _, path = say(serve, home)
        for forged in (
            path[:-1] + ("A" if path[-1] != "A" else "B"),
            path[:-1],
            path + "A",
            "/acknowledge/" + "A" * 72,
            "/acknowledge/evt_00",
            "/acknowledge/%00",
        ):
            assert ask(serve, "GET", forged)[0] == 404, forged
            assert ask(serve, "POST", forged, "")[0] == 404, forged
        assert (acknowledged(home), held(home)) == ([], 1)


def test_what_is_too_old_too_large_or_no_method_is_refused(tmp_path: Path) -> None:
    home = deploy(tmp_path)
    with serving(home) as serve:
        event_id, path = say(serve, home)
        with opened(home) as database:
            ((key,),) = database.execute("SELECT value FROM keys").fetchall()
        old = make_token(key, EventId(event_id), end_seconds=int(time.time()) - 1)
        assert ask(serve, "POST", f"/acknowledge/{old}", "")[0] == 410
        assert ask(serve, "POST", path, urlencode({"name": "x" * 5000}))[0] == 413
        for method in ("PUT", "DELETE"):
            assert ask(serve, method, path)[0] == 405
        other = make_token(key, EventId("evt_" + "0" * 32), end_seconds=int(time.time()) + 60)
        assert ask(serve, "GET", f"/acknowledge/{other}")[0] == 404
        assert (acknowledged(home), held(home)) == ([], 1)
        said = serve.said
    assert path not in said, "the log has no link"


def test_without_an_address_of_ours_there_is_no_link(tmp_path: Path) -> None:
    settings = SETTINGS.replace('public_url = "https://hooks.example.com/"', "")
    home = write_home(tmp_path / "home", handlers="", settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("a", "load.failed"))[0] == 202
        settle(home, SENT)
    assert "acknowledge" not in (home / "messages.jsonl").read_text("utf-8")
