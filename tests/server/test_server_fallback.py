"""Three targets, one dead for good, one flaky, one fine, and a fallback: who got what, and why."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_process import SECRET, event_body, serving, settle, write_home

from tests.notify.notify_endpoints import Web

SETTINGS = """
[channels.ops]
urls = ["json://{host}/status/404", "json://{host}/next", "json://{host}/fine"]
schedule = ["10ms"]
fallback = "backup"
[channels.backup]
urls = ["json://{host}/backup", "file://backup.jsonl"]
fallback = "last"
[channels.last]
urls = ["json://{host}/last"]
[[routes]]
match = "load.sent"
notify = "ops"
title = "{{{{ event.data.name }}}} failed"
"""
NO_HANDLERS = ""
OPEN = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    try:
        yield server
    finally:
        server.stop()


def shown(home: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "receiver.cli", *arguments, "--json", "--home", str(home)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_each_target_gets_it_once_and_what_is_dead_goes_to_the_fallback(
    tmp_path: Path, web: Web
) -> None:
    web.statuses = [503, 503]
    home = write_home(
        tmp_path / "home", handlers=NO_HANDLERS, settings=SETTINGS.format(host=web.host)
    )
    with serving(home) as serve:
        status, answer = serve.post(event_body("Warehouse"))
        assert status == 202
        settle(home, OPEN)
    paths = Counter(request.path for request in web.requests)
    assert paths == {"/status/404": 1, "/next": 3, "/fine": 1, "/backup": 1}
    (said,) = (json.loads(each.body) for each in web.requests if each.path == "/backup")
    assert said["title"] == "ops/1-json did not take this: Warehouse failed"
    assert len((home / "backup.jsonl").read_text("utf-8").splitlines()) == 1

    event = shown(home, "events", "show", answer["id"])
    by_name = {each["name"]: each for each in event["deliveries"]}
    assert {name: each["state"] for name, each in by_name.items()} == {
        "routes": "succeeded",
        "ops/1-json": "dead",
        "ops/2-json": "succeeded",
        "ops/3-json": "succeeded",
        "backup/1-json": "succeeded",
        "backup/2-file": "succeeded",
    }
    dead, flaky = by_name["ops/1-json"], by_name["ops/2-json"]
    assert [each["status_code"] for each in dead["attempts"]] == [404]
    assert "404" in dead["reason"]
    assert [each["status_code"] for each in flaky["attempts"]] == [503, 503, 200]
    assert [each["outcome"] for each in flaky["attempts"]] == ["transient"] * 2 + ["delivered"]
    assert by_name["backup/1-json"]["fallback_of"] == dead["id"]
    assert SECRET not in json.dumps(event)


def test_a_fallback_of_a_fallback_is_reached(tmp_path: Path, web: Web) -> None:
    settings = SETTINGS.format(host=web.host).replace("/backup", "/status/410")
    home = write_home(tmp_path / "home", handlers=NO_HANDLERS, settings=settings)
    with serving(home) as serve:
        assert serve.post(event_body("Warehouse"))[0] == 202
        settle(home, OPEN)
    (said,) = (json.loads(each.body) for each in web.requests if each.path == "/last")
    assert said["title"] == "backup/1-json did not take this: Warehouse failed"
