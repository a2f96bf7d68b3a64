"""R1 as the kernel sees it: no 202 leaves before the event's bytes are synced to the disk."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from serve_process import Load, measured, serving, write_home

REQUESTS = 300
SYNCS = ("fsync", "fdatasync")
"""SQLite is built with the one or the other."""
STRACE = shutil.which("strace")

# strace pads a pid to five digits.
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(\d+<(?P<file>[^>]*)>")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?:fsync|fdatasync) resumed>.*= 0")
_ANSWER = re.compile(r'\{\\"id\\": \\"(evt_[0-9a-f]{32})\\", \\"duplicate\\": false\}')
_ID = re.compile(r"evt_[0-9a-f]{32}")


def find_violations(lines: Iterable[str]) -> tuple[int, list[str]]:
    """How many events were acknowledged in a trace, and which of them too early.

    Too early is: without a sync of the write-ahead log that began after the first write of
    the event's id to it, and had ended before the answer was sent. One thread writes, so that
    the next fdatasync after that write is the one of its transaction.
    """
    unsynced: set[str] = set()
    syncing: dict[str, set[str]] = {}  # by thread
    synced: dict[str, int] = {}  # the line on which that was known
    heads: dict[str, int] = {}  # by socket: the line on which a 202's head was sent
    early = []
    acknowledged = 0
    for number, line in enumerate(lines):
        call = _CALL.match(line)
        if call is None:
            if resumed := _RESUMED.match(line):
                synced |= dict.fromkeys(syncing.pop(resumed["thread"], ()), number)
        elif call["file"].endswith("-wal"):
            if call["name"] == "pwrite64":
                unsynced |= set(_ID.findall(line)) - synced.keys()
            elif call["name"] in SYNCS:
                if "unfinished" in line:
                    syncing[call["thread"]] = unsynced
                else:
                    synced |= dict.fromkeys(unsynced, number)
                unsynced = set()
        else:
            if "202 Accepted" in line:
                heads[call["file"]] = number
            for event in _ANSWER.findall(line):  # it may come in a call of its own
                acknowledged += 1
                if synced.get(event, number) >= heads.pop(call["file"]):
                    early.append(event)
    return acknowledged, early


def trace(home: Path, program: list[str], output: Path) -> list[str]:
    """The system calls of a server that acknowledges a few hundred events."""
    assert STRACE is not None
    calls = "trace=pwrite64,fsync,fdatasync,sendto,sendmsg,write,writev"
    command = [STRACE, "-D", "-f", "-y", "-s", "9000", "-e", calls, "-e", "signal=none",
               "-o", str(output), *program]  # fmt: skip
    with serving(home, program=command) as serve:
        load = Load(serve, "traced", enough=REQUESTS)
        assert load.has_begun.wait(60)
        load.end()
        serve.signal(signal.SIGTERM)
        assert serve.wait() == 0, serve.said
        pid = serve.process.pid
    deadline = time.monotonic() + 20
    last_line = re.compile(rf"^{pid} +\+\+\+ exited", re.MULTILINE)
    while not last_line.search(text := output.read_text("utf-8", "replace")):
        assert time.monotonic() < deadline, "strace does not end"
        time.sleep(0.05)
    assert set(load.statuses) == {202}
    return text.splitlines()


def can_trace() -> bool:
    if STRACE is None:
        return False
    command = [STRACE, "-o", "/dev/null", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.chaos
@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to trace")
def test_no_202_before_the_event_is_synced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the check finds what it is for: the same server with synchronous = NORMAL fails it."""
    serve = [sys.executable, "-m", "receiver.cli", "serve"]
    lax = [sys.executable, str(Path(__file__).with_name("serve_lax.py")), "serve"]
    full = find_violations(trace(write_home(tmp_path / "full"), serve, tmp_path / "full.trace"))
    normal = find_violations(trace(write_home(tmp_path / "normal"), lax, tmp_path / "lax.trace"))
    assert full[0] >= REQUESTS
    assert full[1] == []
    assert normal[0] >= REQUESTS
    assert len(normal[1]) > normal[0] / 2
    measured(
        capsys,
        f"syscalls: {full[0]} acknowledged, {len(full[1])} before their sync; "
        f"with synchronous = NORMAL {len(normal[1])} of {normal[0]}",
    )
