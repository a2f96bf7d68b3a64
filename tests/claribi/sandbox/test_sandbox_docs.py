"""docs/sandbox.md: its curl commands are run, its tables are compared with the code."""

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_server import Receiver, Running, running

import claribi.sandbox
from claribi.sandbox import EVENT_TYPES, Sandbox, Settings, create_app
from claribi.sandbox.control import CONTROLS
from claribi.sandbox.events import example_data
from receiver.cli.sandbox import sandbox as command

DOCS = Path(__file__).parents[3] / "docs/sandbox.md"
TEXT = DOCS.read_text("utf-8")
EXAMPLES = re.findall(r"```sh\n(.*?)```\n```json\n(.*?)```\n", TEXT, re.DOTALL)
ORIGIN = "http://127.0.0.1:8010"
HOOK = "http://127.0.0.1:8000/hooks/claribi"


def fits(found: Any, shown: Any) -> bool:
    """Whether an answer is what the page shows; "…" there stands for anything."""
    match shown:
        case "…":
            return found is not None
        case dict():
            return list(found) == list(shown) and all(fits(found[k], shown[k]) for k in shown)
        case list():
            return len(found) == len(shown) and all(map(fits, found, shown))
        case _:
            return bool(found == shown)


@pytest.fixture
def documented(receiver: Receiver) -> Iterator[Running]:
    """A sandbox as the page starts it."""
    with running(webhook_urls=[receiver.url]) as one:
        yield one


def test_every_curl_command_answers_as_shown(documented: Running, receiver: Receiver) -> None:
    assert shutil.which("curl"), "this test runs the page's curl commands"
    assert len(EXAMPLES) == TEXT.count("```sh\n") >= 10
    for shell, shown in EXAMPLES:
        script = shell.replace(ORIGIN, documented.origin)
        done = subprocess.run(
            ["bash", "-ceu", script.replace("curl ", "curl --noproxy '*' ")],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        page = shown.replace(ORIGIN, documented.origin).replace(HOOK, receiver.url)
        assert fits(json.loads(done.stdout), json.loads(page)), f"{script}\n{done.stdout}"


def test_the_credentials_of_the_page_are_the_seeds() -> None:
    rows = re.findall(r"^\| (\S*@\S+|) *\| (\S*) *\| ([^|]+) \| (`\S+`|) ?\|$", TEXT, re.MULTILINE)
    logins = {(email, password) for email, password, _, _ in rows if email}
    assert logins == {(user.email, user.password) for user in Sandbox.users if user.password}
    keys = {key.strip("`") for _, _, _, key in rows if key}
    assert keys == {key.key for key in Sandbox.api_keys}


def test_the_events_of_the_page_have_the_fields_that_are_sent() -> None:
    world = create_app().state.sandbox.world
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| [^|]+ \| (.+) \|$", TEXT, re.MULTILINE))
    assert set(rows) == set(EVENT_TYPES)
    for event_type, fields in rows.items():
        assert re.findall(r"`(\w+)`", fields) == list(example_data(world, event_type))


def test_every_control_and_its_fields_are_on_the_page() -> None:
    for method, path, _, body in CONTROLS:
        shown = path.replace("{id:int}", "{id}")
        start = re.escape(_row(shown))
        (row,) = re.findall(rf"^\| `(?:GET|POST) {start}` .*$", TEXT, re.MULTILINE)
        assert f"`{method}" in row
        for field in body.model_fields if body else ():
            assert f"`{field}`" in TEXT or f'"{field}"' in TEXT, field


def _row(path: str) -> str:
    """The path that begins the row in which a control stands."""
    return path.removesuffix("{id}/")


def test_every_option_of_the_command_is_on_the_page() -> None:
    for name in inspect.signature(command).parameters:
        assert f"`--{name.replace('_', '-')}" in TEXT, name


def test_the_waits_of_the_page_are_the_senders() -> None:
    assert "5 s, 30 s, 2 min,\n  10 min and 1 h" in TEXT
    assert tuple(Settings().webhook_backoff_seconds) == (5, 30, 120, 600, 3600)
    assert "An attempt has 10 seconds" in TEXT
    assert Settings().webhook_timeout_seconds == 10


def test_what_the_package_exports_exists() -> None:
    for name in claribi.sandbox.__all__:
        assert hasattr(claribi.sandbox, name)
