"""docs/sandbox.md: its curl commands are run, its tables are compared with the code."""

import argparse
import inspect
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sandbox_server import Receiver, Running, running

import claribi.sandbox
from claribi.sandbox import EVENT_TYPES, Sandbox, Settings, create_app
from claribi.sandbox.control import CONTROLS
from claribi.sandbox.events import example_data
from claribi.sandbox.openapi import document
from receiver.cli.sandbox import sandbox as command

DOCS = Path(__file__).parents[3] / "docs/sandbox.md"
TEXT = DOCS.read_text("utf-8")
README = (DOCS.parents[1] / "README.md").read_text("utf-8")
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


def curls(text: str) -> list[str]:
    """The curl commands of a page's shell blocks, each with its continued lines joined."""
    shells = re.findall(r"^```sh\n(.*?)^```", text.replace("\\\n", ""), re.DOTALL | re.MULTILINE)
    split = (re.split(r"^(?=curl )", shell, flags=re.MULTILINE)[1:] for shell in shells)
    return list(chain.from_iterable(split))


@pytest.mark.parametrize("page", [README, TEXT], ids=["README", "docs/sandbox"])
def test_every_curl_command_is_in_the_openapi_document(page: str) -> None:
    commands = [one for one in curls(page) if "/api/" in one]
    assert len(commands) >= 2
    for one in commands:
        asked = Asked.of(one)
        operation, path = asked.operation()
        known = {each["name"] for each in operation.get("parameters", ())}
        assert asked.query.keys() <= known, one
        assert ("requestBody" in operation) == (asked.body is not None), one
        assert asked.body is None or set(asked.body) <= set(fields_of(operation)), one
        schemes = DOCUMENT["components"]["securitySchemes"].values()
        keys = {each["name"].lower() for each in schemes if each["type"] == "apiKey"}
        assert asked.headers.keys() <= keys, one
        assert asked.headers or path == "/api/auth/login/", one


def test_every_curl_command_of_the_readme_succeeds_as_declared(served: Running) -> None:
    for one in curls(README):
        script = one.replace(ORIGIN, served.origin).replace("curl ", "curl -s --noproxy '*' ")
        subprocess.run(["bash", "-ceu", script], capture_output=True, timeout=30, check=True)
        status = served.sandbox.calls[-1].status
        assert status < 300, one
        assert str(status) in Asked.of(one).operation()[0]["responses"]


DOCUMENT = document()


@dataclass
class Asked:
    """What a curl command asks for."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @classmethod
    def of(cls, command: str) -> "Asked":
        parser = argparse.ArgumentParser()
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-X", dest="method")
        parser.add_argument("-H", dest="headers", action="append", default=[])
        parser.add_argument("-d", dest="body")
        parser.add_argument("url")
        found = parser.parse_args(shlex.split(command)[1:])
        url = urlsplit(found.url)
        assert f"{url.scheme}://{url.netloc}" == ORIGIN
        return cls(
            method=found.method or ("GET" if found.body is None else "POST"),
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): text for name, text in (h.split(": ") for h in found.headers)},
            body=None if found.body is None else json.loads(found.body),
        )

    def operation(self) -> tuple[Any, str]:
        """The operation of the document that answers it, and its path."""
        for path, operations in DOCUMENT["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", r"\\d+", path), self.path):
                return operations[self.method.lower()], path
        raise AssertionError(f"the document has no {self.method} {self.path}")


def fields_of(operation: Any) -> Any:
    """The properties of an operation's request body."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema["properties"]


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
