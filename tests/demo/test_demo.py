"""`clarihook demo` shows the whole path, says when it did not work, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

Start = Callable[..., subprocess.Popen[str]]

EVENTS = {
    "data_source.sync_completed",
    "data_source.sync_failed",
    "report.generated",
    "goal.milestone_reached",
    "billing.credits_low",
}
REPOSITORY = Path(__file__).parents[2]
SECONDS = 60


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def ports_in(text: str) -> list[int]:
    return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)]


def overview(said: str) -> str:
    """The console's first page, for whoever signs in with what the demo says."""
    found = re.search(r"console +(http://\S+)/ with the token (\S+)", said)
    assert found is not None
    with httpx2.Client(base_url=found[1], follow_redirects=True, timeout=SECONDS) as browser:
        return browser.post("/sign-in", data={"token": found[2]}).text


def test_once_shows_each_step_of_the_five_events(start: Start, temp: Path) -> None:
    status, out, err = finish(start("--once"))
    assert (status, err) == (0, "")
    assert {*re.findall(r"^ +\d  (\S+)$", out, re.MULTILINE)} == EVENTS
    assert out.count("signature verified, 202") == len(EVENTS)
    assert len(set(re.findall(r"stored +(evt_[0-9a-f]{32})\n", out))) == len(EVENTS)
    for call in (
        "GET /api/data-sources/6/ -> 200",
        "POST /api/data-sources/6/sync/ -> 202",
        "GET /api/reports/15/ -> 200",
        "GET /api/billing/usage/ -> 200",
    ):
        assert out.count(call) == 1
    assert out.count("delivered  to ops/1-json") == out.count("delivered  to ops/2-file") == 5
    assert "5 events stored, 5 handled, by 6 runs of handlers" in out
    assert "5 messages received by the JSON webhook" in out
    assert out.isascii()
    assert list(temp.iterdir()) == []


def test_a_folder_that_was_asked_for_is_kept_and_holds_everything(
    start: Start, tmp_path: Path
) -> None:
    status, out, err = finish(start("--once", "--home", "kept"))
    assert (status, err) == (0, "")
    home = tmp_path / "kept"
    lines = (home / "data/messages.jsonl").read_text().splitlines()
    titles = [json.loads(line)["title"] for line in lines]
    assert titles == [
        "Data Warehouse failed to sync",
        "Data Warehouse: the sync brought 0 records",
        "Report ready: Board report",
        "Milestone reached: Q3 revenue is at 75 %",
        "The AI credits are low: 149 left",
    ]
    assert f"{home}" in out
    assert (home / "data/clarihook.db").is_file()
    for secret in (home / "secrets").iterdir():
        assert secret.stat().st_mode & 0o077 == 0


def test_a_folder_with_something_in_it_is_not_touched(start: Start, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    status, out, err = finish(start("--once", "--home", "mine"))
    assert (status, out) == (2, "")
    assert "there is something in it; name a new folder" in err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["file"]


def test_the_settings_of_the_machine_are_left_alone(start: Start, tmp_path: Path) -> None:
    """CLARIHOOK_HOME is a real deployment, and CLARIHOOK_… are for it."""
    (tmp_path / "real").mkdir()
    status, out, _ = finish(
        start("--once", CLARIHOOK_HOME="real", CLARIHOOK_SERVER__READ_TIMEOUT="nonsense")
    )
    assert status == 0
    assert "5 events stored" in out
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("asked_by", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_it_is_asked_to_stop(
    start: Start, temp: Path, asked_by: signal.Signals
) -> None:
    process = start("--every", "0")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if re.match(r" +7  ", line):  # in the second round, in the middle of an event
            break
    assert "data_source.sync_failed" in overview(seen)
    process.send_signal(asked_by)
    status, rest, err = finish(process)
    assert (status, err) == (0, "")
    assert rest.endswith("stopped\n")
    assert "Traceback" not in seen + rest
    assert list(temp.iterdir()) == []
    for port in ports_in(seen):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_it_stops_when_nobody_reads_any_more(start: Start, temp: Path) -> None:
    process = start("--every", "0")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "error: nobody reads what the demo says, so it has stopped\n"
    process.stderr.close()
    assert process.wait(SECONDS) == 1
    assert list(temp.iterdir()) == []


def test_an_event_that_does_not_get_through_is_told(temp: Path) -> None:
    broken = """
from receiver import Reject, on

@on("data_source.sync_failed")
async def refuse(event):
    raise Reject("not today")
"""
    code = f"""
import asyncio
from receiver.demo import run
from receiver.errors import ClarihookError
try:
    asyncio.run(
        run({{"handlers/broken.py": {broken!r}}}, print, home=None, once=True, every_seconds=0)
    )
except ClarihookError as error:
    print("error:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temp)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert "failed     broken.refuse, attempt 1" in done.stdout
    assert done.stdout.endswith(
        "error: data_source.sync_failed: broken.refuse is dead: Reject: not today\n"
    )
    assert list(temp.iterdir()) == []
