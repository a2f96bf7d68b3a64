"""An event that nobody acknowledges goes on to the next channel; one that somebody has does not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from serve_process import Serve, event_body, opened, serving, settle, write_home

SETTINGS = """
[channels.oncall]
urls = ["file://oncall.jsonl"]
[[routes]]
name = "failures"
match = "load.*"
notify = "file"
title = "{{{{ event.data.name }}}} failed"
escalate = [{{ after = "{after}", notify = "oncall" }}]
"""
NOT_HELD = "SELECT count(*) = 0 FROM deliveries WHERE state = 'held'"
OPEN = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"


def home_of(path: Path, *, after: str) -> Path:
    return write_home(path / "home", handlers="", settings=SETTINGS.format(after=after))


def post(serve: Serve, name: str) -> str:
    status, answer = serve.post(event_body(name))
    assert status == 202
    return str(answer["id"])


def titles(home: Path, file: str) -> list[str]:
    path = home / file
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line)["title"] for line in lines]


def test_what_nobody_acknowledges_escalates_once_even_after_a_crash(tmp_path: Path) -> None:
    home = home_of(tmp_path, after="3s")
    with serving(home) as serve:
        event_id = post(serve, "Warehouse")
        settle(home, NOT_HELD)
        serve.signal(signal.SIGKILL)
        serve.wait()
    assert titles(home, "oncall.jsonl") == []
    with serving(home):
        settle(home, OPEN)
    assert titles(home, "messages.jsonl") == ["Warehouse failed"]
    assert titles(home, "oncall.jsonl") == ["Not acknowledged for 3s: Warehouse failed"]
    # What is shown of a delivery is what its target got.
    command = [
        sys.executable,
        "-m",
        "receiver.cli",
        "events",
        "show",
        event_id,
        "--home",
        str(home),
    ]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "info: Not acknowledged for 3s: Warehouse failed" in shown
    assert "info: Warehouse failed" in shown


def test_what_is_acknowledged_beside_a_server_goes_no_further(tmp_path: Path) -> None:
    home = home_of(tmp_path, after="1h")
    with serving(home, "--workers", "2") as serve:
        event_id = post(serve, "Warehouse")
        settle(home, NOT_HELD)
        command = [sys.executable, "-m", "receiver.cli", "acknowledge", event_id, "--by", "ann",
                   "--json", "--home", str(home)]  # fmt: skip
        (done,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[
            "acknowledged"
        ]
        assert (done["author"], done["is_new"], done["cancelled"]) == ("ann", True, 1)
        settle(home, OPEN)
    with opened(home) as database:
        rows = database.execute(
            "SELECT state, reason FROM deliveries WHERE name LIKE 'oncall/%'"
        ).fetchall()
    assert rows == [("cancelled", "acknowledged by ann")]
    assert titles(home, "oncall.jsonl") == []


def test_a_recovery_ends_the_escalation_of_its_streak(tmp_path: Path) -> None:
    settings = SETTINGS.format(after="1h") + ('resolve = "load.well"\nresolve_by = "data.name"\n')
    home = write_home(tmp_path / "home", handlers="", settings=settings)
    with serving(home) as serve:
        post(serve, "Warehouse")
        post(serve, "Shop")
        settle(home, NOT_HELD)
        assert serve.post(event_body("Warehouse", "load.well"))[0] == 202
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE reason = 'resolved'")
    with opened(home) as database:
        rows = database.execute(
            "SELECT state, reason FROM deliveries WHERE name LIKE 'oncall/%' ORDER BY id"
        ).fetchall()
    assert rows == [
        ("cancelled", "resolved"),
        ("held", "goes out if nobody acknowledges within 1h"),
    ]
