"""`clarihook replay` on a terminal: a bar that tells the truth, and a Ctrl-C that is typed."""

import asyncio
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from live_deployment import REPOSITORY, Deployment

from receiver.cli.replay_view import View
from receiver.model import NewEvent
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

EVENTS = 3_000
BEGAN_MS = 1_795_000_000_000
CTRL_C = b"\x03"
_ON_ITS_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from receiver.cli import main
main()
"""
"""A process gets a controlling terminal, whose keys send signals, only by asking for it."""


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Deployment]:
    """Many events that came while nothing handled them."""
    deployment = Deployment(tmp_path / "home")

    async def fill() -> None:
        store = SqliteStore(deployment.home / "data/clarihook.db")
        await store.open()
        await asyncio.gather(*[store.record(event(number), ()) for number in range(EVENTS)])
        await store.close()

    asyncio.run(fill())
    try:
        yield deployment
    finally:
        deployment.stop()


def event(number: int) -> NewEvent:
    return NewEvent(
        new_event_id(BEGAN_MS + number), "claribi", "good.a", BEGAN_MS + number,
        b'{"event": "good.a"}', "", None, 0, hashlib.sha256(b"%d" % number).digest(),
    )  # fmt: skip


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, deployment: Deployment, *arguments: str) -> None:
        self._deployment = deployment
        self.screen = ""
        self._ours, theirs = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_ITS_TERMINAL, *arguments],
            cwd=deployment.home,
            env={**environment, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "120"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def percents(self) -> Iterator[int]:
        """Each percentage of the bar as it is drawn, until the command ends.

        The bar never goes back, and never says that more is done than has been.
        """
        most = 0
        while (text := self._read()) is not None:
            self.screen += text
            for found in re.findall(r"(\d+)%", text):
                assert int(found) >= most
                most = int(found)
                handled = len(self._deployment.lines("handled"))
                assert most <= handled * 100 / EVENTS + 0.5
                yield most
        os.close(self._ours)
        self.process.wait(timeout=60)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def _read(self) -> str | None:
        try:
            return os.read(self._ours, 65_536).decode(errors="replace") or None
        except OSError:  # how Linux tells the end
            return None


def test_a_typed_ctrl_c_pauses_and_resume_runs_each_event_exactly_once(stored: Deployment) -> None:
    first = Terminal(stored, "replay", "--type", "*", "--rate", "2000")
    has_typed = False
    for percent in first.percents():
        if percent >= 20 and not has_typed:
            has_typed = True
            first.type(CTRL_C)
    assert has_typed
    assert first.process.returncode == 130
    assert "paused; nothing is lost. Go on: clarihook replay resume 1" in first.screen
    shown = stored.json("replay", "show", "1")
    assert shown["status"] == "paused"
    assert 0.2 <= shown["done"] < 1
    so_far = len(stored.lines("handled"))
    assert so_far < EVENTS

    second = Terminal(stored, "replay", "resume", "1", "--rate", "1000000")
    percents = list(second.percents())
    assert second.process.returncode == 0
    assert percents[-1] == 100
    assert f"replay 1 ended: {EVENTS} events, {EVENTS} succeeded" in second.screen
    times = Counter(line.split()[0] for line in stored.lines("handled"))
    assert len(times) == EVENTS
    assert set(times.values()) == {1}


def test_a_ctrl_c_leaves_one_json_document(stored: Deployment) -> None:
    run = stored.popen("replay", "--type", "*", "--rate", "0.5", "--json")
    assert run.stderr is not None
    run.stderr.readline()
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert json.loads(out) == {"id": 1, "status": "paused"}


def test_a_pipe_gets_plain_lines(stored: Deployment) -> None:
    result = stored.run("replay", "--type", "*", "--limit", "500")
    lines = result.stderr.splitlines()
    assert all(re.match(r"replay 1: \d+%", line) for line in lines)
    assert lines[-1] == "replay 1: 100%  500 succeeded"
    assert "\x1b" not in result.stdout + result.stderr


def test_a_replay_that_waits_is_paused_and_cancelled_by_command(stored: Deployment) -> None:
    run = stored.popen("replay", "--type", "*", "--rate", "0.5")
    assert run.stderr is not None
    run.stderr.readline()
    paused = stored.run("replay", "pause", "1")
    assert paused.returncode == 0
    assert paused.stdout.splitlines()[-1] == "go on: clarihook replay resume 1"
    assert run.wait(timeout=60) == 0
    run.communicate()
    assert '"status": "paused"' in stored.run("replay", "list", "--json").stdout
    cancelled = stored.run("replay", "cancel", "1", "--json")
    assert '"status": "cancelled"' in cancelled.stdout
    assert stored.run("replay", "show", "1").stdout.splitlines()[1].split()[3] == "cancelled"
    refused = stored.run("replay", "resume", "1")
    assert (refused.returncode, refused.stderr.count("begin a new one")) == (2, 1)


def test_a_log_gets_one_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    """At half, where 0.5 % 0.1 is nearly 0.1, too: what waits for hours fills no log."""
    with View() as view:
        for tenths in (0, 5, 5, 5, 7, 7, 10, 10):
            replay = SimpleNamespace(id=1, states={}, is_quiet=False)
            view(SimpleNamespace(done=tenths / 10, replay=replay))  # type: ignore[arg-type]
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == [
        "0%", "50%", "70%", "100%",
    ]  # fmt: skip
