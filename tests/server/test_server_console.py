"""The console in a real server: who gets in, what they see, and that nobody acts in their name."""

import html
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_process import Serve, event_body, opened, serving, settle, write_home

from receiver.console import sessions
from receiver.console.app import HEADERS, Console
from receiver.console.pages import MAX_BODY_BYTES

SETTINGS = """
[server]
public_url = "https://hooks.example.com"
[console]
port = 0
[channels.oncall]
urls = ["file://oncall.jsonl"]
[channels.broken]
urls = ["json://127.0.0.1:1/"]
attempts = 1
[[routes]]
match = "load.*"
notify = "file"
title = "{{ event.data.name }} failed"
escalate = [{ after = "1h", notify = "oncall" }]
[[routes]]
match = "odd.*"
notify = "broken"
"""
FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
PAGES = Console(cast("Any", None)).pages
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>\u202e{{7*7}}{% raw %}"""


def token_for(home: Path, name: str, *more: str) -> str:
    command = [sys.executable, "-m", "receiver.cli", "token", "create", name, *more]
    made = subprocess.run(
        [*command, "--home", str(home)], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


def address_of_console(serve: Serve) -> str:
    (address,) = re.findall(r"the console is at (http://\S+)/", serve.said)
    return str(address)


class Browser:
    """Somebody's browser, as far as pages without scripts need one."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._client = httpx2.Client(base_url=origin, timeout=20, follow_redirects=False)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self._client.get(path, **options)

    def head(self, path: str) -> httpx2.Response:
        return self._client.head(path)

    def post(self, path: str, form: dict[str, str] | bytes, **headers: str) -> httpx2.Response:
        if isinstance(form, bytes):
            return self._client.post(path, content=form, headers=headers)
        return self._client.post(path, data=form, headers=headers)

    def sign_in(self, token: str, to: str = "/") -> httpx2.Response:
        return self.post("/sign-in", {"token": token, "to": to})

    def form_token(self) -> str:
        (found,) = set(FORM_TOKEN.findall(self.get("/events").text))
        return str(found)

    def close(self) -> None:
        self._client.close()


@dataclass
class Deployed:
    """A server with a history."""

    home: Path
    origin: str
    operator_token: str
    viewer_token: str
    escalating: list[str]
    """Events that go on to the next channel, none of them acknowledged; each for one test."""
    long: str
    """One with a body of 1 MiB."""
    odd: str
    """An event with a hostile body, whose delivery is dead."""

    def browser(self, token: str | None = None) -> Browser:
        browser = Browser(self.origin)
        if token is not None:
            assert browser.sign_in(token).status_code == 303
        return browser

    def acknowledgements(self) -> list[tuple[Any, ...]]:
        with opened(self.home) as database:
            return database.execute(
                "SELECT author, how, comment FROM acknowledgements ORDER BY event_seq"
            ).fetchall()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    home = write_home(tmp_path_factory.mktemp("console") / "home", handlers="", settings=SETTINGS)
    with serving(home) as serve:
        ids = [str(serve.post(event_body(f"Warehouse {n}"))[1]["id"]) for n in range(3)]
        odd = json.dumps({"event": f"odd.{HOSTILE[:8]}", "data": {"name": HOSTILE}}).encode()
        status, answer = serve.post(odd)
        assert status == 202
        long = (
            b'{"event": "long.body", "data": '
            + b"[" * 50
            + b"1," * 500_000
            + b"1"
            + b"]" * 50
            + b"}"
        )
        status, long_answer = serve.post(long)
        assert status == 202
        settle(home, "SELECT 3 - count(*) FROM deliveries WHERE state = 'held'")
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE state = 'dead'")
        yield Deployed(
            home,
            address_of_console(serve),
            token_for(home, "ada"),
            token_for(home, "wall", "--role", "viewer"),
            ids,
            str(long_answer["id"]),
            str(answer["id"]),
        )


def path_of(template: str, event_id: str) -> str:
    return template.replace("{id}", event_id)


def test_a_stranger_gets_nothing_but_the_way_in(deployed: Deployed) -> None:
    """Each page says who may see it, and those that say nothing of it are counted here."""
    browser, before = deployed.browser(), deployed.acknowledgements()
    assert [page.path for page in PAGES if page.role is None] == [
        "/console.css",
        "/sign-in",
        "/sign-in",
    ]
    for page in PAGES:
        if page.role is None:
            continue
        path = path_of(page.path, deployed.odd)
        if page.method == "GET":
            answer = browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?to={path}")
        else:
            answer = browser.post(path, {})
            assert answer.status_code == 401
        assert deployed.odd not in answer.text
    assert deployed.acknowledgements() == before
    browser.close()


def test_a_viewer_sees_all_and_changes_nothing(deployed: Deployed) -> None:
    browser, before = deployed.browser(deployed.viewer_token), deployed.acknowledgements()
    for page in PAGES:
        if page.method == "GET" and page.role is not None:
            assert browser.get(path_of(page.path, deployed.odd)).status_code == 200
    shown = browser.get(f"/events/{deployed.escalating[0]}").text
    assert "I take care of it</button>" not in shown
    # Whoever has that link may acknowledge; it is in the message, for those who got the message.
    assert "https://hooks.example.com/acknowledge/…" in shown
    assert not re.search(r"/acknowledge/[\w-]{72}", shown)
    answer = browser.post(
        f"/events/{deployed.escalating[0]}/acknowledge", {"form_token": browser.form_token()}
    )
    assert answer.status_code == 403
    assert "clarihook token create NAME --role operator" in answer.text
    assert deployed.acknowledgements() == before
    browser.close()


def test_an_operator_takes_care_and_it_escalates_no_further(deployed: Deployed) -> None:
    event_id = deployed.escalating[1]
    browser = deployed.browser(deployed.operator_token)
    assert f'action="/events/{event_id}/acknowledge"' in browser.get("/").text
    form = {"form_token": browser.form_token(), "comment": "restarting\nthe sync"}
    answer = browser.post(f"/events/{event_id}/acknowledge", form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/events/{event_id}")
    assert deployed.acknowledgements() == [("ada", "console", r"restarting\nthe sync")]
    with opened(deployed.home) as database:
        rows = database.execute(
            "SELECT state, reason FROM deliveries JOIN events ON events.seq = event_seq "
            "WHERE events.id = ? AND name LIKE 'oncall/%'",
            (event_id,),
        ).fetchall()
    assert rows == [("cancelled", "acknowledged by ada")]
    shown = browser.get(f"/events/{event_id}").text
    assert "ada, since" in shown
    assert "I take care of it</button>" not in shown
    assert event_id not in browser.get("/").text.partition("Dead deliveries")[0]
    browser.post(f"/events/{event_id}/acknowledge", form)
    assert len(deployed.acknowledgements()) == 1, "who is first counts"
    browser.close()


@pytest.mark.parametrize(
    ("form_token", "headers"),
    [
        (None, {}),
        ("0" * 64, {}),
        ("\udcff", {}),
        ("own", {"Origin": "https://evil.example"}),
        ("own", {"Origin": "null"}),
        ("own", {"Origin": "http://["}),
        ("own", {"Origin": "http://[zz]/"}),
        ("own", {"Origin": "http://127.0.0.1:1"}),
        ("own", {"Sec-Fetch-Site": "cross-site"}),
        ("own", {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_another_site_can_not_act_for_an_operator(
    deployed: Deployed, form_token: str | None, headers: dict[str, str]
) -> None:
    browser = deployed.browser(deployed.operator_token)
    before = deployed.acknowledgements()
    form = {"comment": "evil"}
    if form_token is not None:
        form["form_token"] = browser.form_token() if form_token == "own" else form_token
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode("utf-8", "replace")
    path = f"/events/{deployed.escalating[2]}/acknowledge"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = browser.post(path, body, **kind, **headers)
    assert answer.status_code == 403
    assert deployed.acknowledgements() == before
    assert browser.get(path).status_code == 405, "no GET changes anything"
    assert deployed.acknowledgements() == before
    browser.close()


def test_a_form_of_one_session_is_none_of_another(deployed: Deployed) -> None:
    one, other = (deployed.browser(deployed.operator_token) for _ in range(2))
    path = f"/events/{deployed.escalating[2]}/acknowledge"
    assert other.post(path, {"form_token": one.form_token()}).status_code == 403
    one.close()
    other.close()


def test_what_came_from_outside_is_shown_and_never_lived(deployed: Deployed) -> None:
    browser, stranger = deployed.browser(deployed.viewer_token), deployed.browser()
    pages = [
        "/", "/events", f"/events/{deployed.odd}", "/events?type=" + HOSTILE[:30],
        "/events?before=%22%3E%3Cscript%3E", f"/sign-in?to={HOSTILE}", "/nowhere/<script>",
        "/events/<script>",
    ]  # fmt: skip
    for path in pages:
        answer = (stranger if path.startswith("/sign-in") else browser).get(path)
        assert answer.status_code in (200, 404)
        assert "<script" not in answer.text.lower()
        assert "<img" not in answer.text
        assert "\u202e" not in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    shown = html.unescape(browser.get(f"/events/{deployed.odd}").text)
    assert "<script>alert(1)</script>" in shown
    assert "{{7*7}}{% raw %}" in shown
    stranger.close()
    browser.close()


def test_a_long_body_is_cut_and_holds_nobody_up(deployed: Deployed) -> None:
    """Indented, one of 1 MiB that nests kept the loop of the receiver for over a second."""
    browser = deployed.browser(deployed.viewer_token)
    shown = browser.get(f"/events/{deployed.long}").text
    assert "… cut: clarihook events show" in shown
    assert shown.count("[[") < MAX_BODY_BYTES
    assert len(shown) < 2 * MAX_BODY_BYTES
    browser.close()


def test_a_filter_that_nothing_can_fit_is_no_fault(deployed: Deployed) -> None:
    """SQLite refuses patterns of over 50,000 bytes."""
    browser = deployed.browser(deployed.viewer_token)
    for query in (f"type={'a' * 60_000}", f"source={'*' * 60_000}", "type=%00&source=%ff%fe"):
        assert browser.get(f"/events?{query}").status_code == 200
    browser.close()


def test_methods_that_a_page_has_not_are_told(deployed: Deployed) -> None:
    browser = deployed.browser()
    answer = browser.post(f"/events/{deployed.odd}", {})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert browser.head("/").status_code == 303
    browser.close()


def test_whoever_is_in_may_sign_in_as_somebody_else(deployed: Deployed) -> None:
    """In another tab, say, whose page is older."""
    browser = deployed.browser(deployed.viewer_token)
    assert browser.get("/sign-in?to=/events").headers["location"] == "/events"
    assert browser.sign_in(deployed.operator_token).status_code == 303
    assert "ada, operator" in browser.get("/").text
    browser.close()


def test_a_stop_waits_for_no_console(tmp_path: Path) -> None:
    """A form that never arrives keeps neither the process nor the webhooks' address."""
    home = write_home(tmp_path / "home", handlers="", settings=SETTINGS)
    with serving(home) as serve:
        host, port = address_of_console(serve).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            head = f"POST /sign-in HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 70\r\n\r\nx"
            slow.sendall(head.encode())
            assert httpx2.get(f"http://{host}:{port}/sign-in").status_code == 200
            assert serve.stop() == 0
            assert slow.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert "Traceback" not in serve.said


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "",
        "[",
        "[::1",
        "[zz]",
        "]::1[",
        "localhost:port",
    ],
)
def test_another_name_is_not_served(deployed: Deployed, host: str) -> None:
    """A name that leads here by DNS rebinding would make this another site's own address."""
    browser = deployed.browser()
    assert browser.get("/sign-in", headers={"Host": host}).status_code in (400, 421)
    browser.close()


@pytest.mark.parametrize("to", ["//evil.example/x", "https://evil.example", "/\\evil.example", ""])
def test_signing_in_leads_nowhere_else(deployed: Deployed, to: str) -> None:
    browser = deployed.browser()
    answer = browser.sign_in(deployed.viewer_token, to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.get("//evil.example/x").status_code == 404
    browser.close()


def test_a_link_from_another_site_asks_once_more_with_the_cookie(deployed: Deployed) -> None:
    """Browsers keep a strict cookie back then; the page asks for itself, and that is ours."""
    browser = deployed.browser()
    path = f"/events/{deployed.odd}"
    again = browser.get(path, headers={"Sec-Fetch-Site": "cross-site"})
    assert again.status_code == 200
    assert f'content="0; url={path}"' in again.text
    assert deployed.odd not in again.text.replace(path, "")
    asked = browser.get(path, headers={"Sec-Fetch-Site": "same-origin"})
    assert asked.headers["location"] == f"/sign-in?to={path}"
    browser.close()


def test_a_token_that_is_revoked_ends_its_sessions_at_once(deployed: Deployed) -> None:
    token = token_for(deployed.home, "eve")
    browser = deployed.browser(token)
    assert browser.get("/").status_code == 200
    command = [sys.executable, "-m", "receiver.cli", "token", "revoke", "eve"]
    subprocess.run([*command, "--home", str(deployed.home)], check=True, capture_output=True)
    assert browser.get("/").status_code == 303
    assert browser.sign_in(token).status_code == 401
    browser.close()


def test_signing_out_takes_the_cookie_away(deployed: Deployed) -> None:
    browser = deployed.browser(deployed.viewer_token)
    answer = browser.post("/sign-out", {"form_token": browser.form_token()})
    assert answer.headers["location"] == "/sign-in"
    assert browser.get("/").status_code == 303
    browser.close()


def test_a_form_that_is_too_large_is_refused(deployed: Deployed) -> None:
    browser = deployed.browser()
    assert browser.post("/sign-in", {"token": "x" * 20_000}).status_code == 413
    browser.close()


def test_several_workers_know_each_others_sessions_and_guesses_run_out(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers="", settings=SETTINGS)
    with serving(home, "--workers", "2") as serve:
        token = token_for(home, "ada")
        browser = Browser(address_of_console(serve))
        cookie = browser.sign_in(token).headers["set-cookie"].partition(";")[0]
        browser.close()
        for _ in range(8):  # connections of their own: some are the other worker's
            answer = httpx2.get(f"{browser.origin}/events", headers={"Cookie": cookie})
            assert answer.status_code == 200
        guesser = Browser(browser.origin)
        statuses = [guesser.sign_in(f"guess {n}").status_code for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2, "on one connection: of one worker"
        assert 0 < int(guesser.sign_in("guess").headers["retry-after"]) <= 90
        assert guesser.sign_in(token).status_code == 303, "nobody is locked out by others"
        guesser.close()


def test_without_a_port_there_is_no_console(tmp_path: Path) -> None:
    settings = SETTINGS.replace("[console]\nport = 0\n", "")
    with serving(write_home(tmp_path / "home", handlers="", settings=settings)) as serve:
        assert "console" not in serve.said


@given(st.text() | st.from_regex(r"[0-9]{1,3}\.[0-9]{1,12}\.[0-9a-f]{32}\.[0-9a-f]{64}"))
def test_no_cookie_but_our_own_is_a_session(cookie: str) -> None:
    assert sessions.read(b"k" * 32, cookie, now_seconds=0) is None
