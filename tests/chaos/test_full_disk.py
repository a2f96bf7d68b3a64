"""A5, R9: a full disk, full for real. Never a lost or half event, and service resumes by itself.

Three rounds on a tmpfs of 24 MiB: filled by events, by a foreign file to the last byte, and by
the write-ahead log that a reader keeps from being moved in.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serve_process import Serve, event_body, measured, serving, sign, write_home
from small_disk import SmallDisk, require_namespaces, small_disk

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

SETTINGS = "[store]\nmin_free_bytes = 0\n"
RESUMES_SECONDS = 5 + 5
"""5 is what the issue asks for; the rest is for a busy machine. The real figure is printed."""

UNFINISHED = (
    "SELECT count(*) FROM deliveries WHERE kind = 'handler' "
    "AND state NOT IN ('succeeded', 'dead', 'cancelled')"
)


class Sender:
    """Sends unique events, one after the other, and keeps what was acknowledged."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.accepted: dict[str, bytes] = {}
        self.refused = 0
        self._count = 0

    def send(self, padding: int = 0) -> int:
        """The status; 202 or 503 with `Retry-After`, nothing else."""
        self._count += 1
        body = json.dumps(
            {"event": "load.sent", "data": {"number": self._count, "padding": "x" * padding}}
        ).encode()
        assert self.serve.address is not None
        connection = http.client.HTTPConnection(*self.serve.address, timeout=30)
        try:
            headers = {"X-ClariBI-Signature": sign(body)}
            connection.request("POST", "/hooks/claribi", body, headers)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status == 202:
            self.accepted[answer["id"]] = body
        else:
            assert reply.status == 503, answer
            assert answer["error"] == "service_unavailable"
            assert int(reply.getheader("Retry-After") or 0) > 0
            self.refused += 1
        return reply.status

    def send_until_refused(self, padding: int) -> None:
        for _ in range(5000):
            if self.send(padding) == 503:
                return
        raise AssertionError("the disk does not get full")

    def fill_up(self, padding: int) -> None:
        """Send until the disk is full of events: also what cutting the log has given back."""
        while True:
            self.send_until_refused(padding)
            refused_since = time.monotonic()
            while self.send(padding) == 503:
                if time.monotonic() > refused_since + 3:
                    return
                time.sleep(0.1)

    def send_until_accepted(self) -> float:
        """How long that took, in seconds."""
        begun = time.monotonic()
        while self.send() != 202:
            assert time.monotonic() - begun < RESUMES_SECONDS, self.serve.said
            time.sleep(0.05)
        return time.monotonic() - begun


def health(serve: Serve) -> dict[str, Any]:
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=30)
    try:
        connection.request("GET", "/health")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def wait_for(is_so: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_handled(disk: SmallDisk) -> bool:
    return disk.query(UNFINISHED) == [[0]]


def reads(disk: SmallDisk, *command: str) -> str:
    """A reading command while the disk is full: it works."""
    program = disk.enter(sys.executable, "-m", "receiver.cli", *command, "--home", str(disk.home))
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=60).stdout


def nothing_is_lost(disk: SmallDisk, sender: Sender) -> None:
    """What was acknowledged is stored, and nothing else; each is whole, and handled once."""
    wait_for(lambda: all_handled(disk))
    assert disk.query("PRAGMA integrity_check") == [["ok"]]
    rows = disk.query("SELECT id, CAST(body AS TEXT) FROM events")
    stored = {key: body.encode() for key, body in rows}
    per_event = disk.query(
        "SELECT count(*) FROM deliveries WHERE kind = 'handler' AND state = 'succeeded' "
        "GROUP BY event_seq"
    )
    assert stored == sender.accepted
    assert len(per_event) == len(stored)
    assert all(each == [1] for each in per_event)
    handled = (disk.home / "handled").read_text("ascii").split()
    assert sorted(handled) == sorted(stored), "no handler ran again because of a full disk"


@pytest.mark.parametrize("filled_by", ["events", "a foreign file", "the log"])
def test_a_full_disk_loses_nothing_and_service_resumes(
    tmp_path: Path, filled_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require_namespaces()
    home = write_home(tmp_path / "home", settings=SETTINGS)
    with small_disk(home, size_mib=24) as disk:
        program = disk.enter(sys.executable, "-m", "receiver.cli", "serve")
        ballast = disk.seen / "data" / "clarihook.db.ballast"
        with serving(home, program=program) as serve:
            sender = Sender(serve)
            assert sender.send() == 202
            wait_for(ballast.exists)
            assert ballast.stat().st_size == ballast.stat().st_blocks * 512 == 8 * 1024 * 1024
            assert ballast.stat().st_mode & 0o777 == 0o600
            if filled_by == "events":
                disk.fill(leave_bytes=6 * 1024 * 1024)
                sender.fill_up(30_000)
            elif filled_by == "a foreign file":
                disk.fill()
                sender.send_until_refused(3_000)
                disk.fill()  # what the ballast has left, too
                for _ in range(20):
                    sender.send(3_000)
            else:
                with disk.read_transaction():
                    sender.send_until_refused(200)
                    assert not ballast.exists()
            if filled_by != "the log":  # whose reader has gone: it has resumed by now, or soon
                assert not ballast.exists()
                state = health(serve)
                assert (state["accepts"], state["reason"]) == (False, "the database's disk is full")
                assert json.loads(reads(disk, "events", "list", "--json"))
                assert "store.no_room" in serve.said
                if filled_by == "events":
                    wait_for(lambda: all_handled(disk))  # in the ballast's place
                disk.free()
            seconds = sender.send_until_accepted()
            wait_for(ballast.exists)
            assert health(serve)["accepts"] is True
            nothing_is_lost(disk, sender)
            assert serve.stop() == 0
            assert "Traceback" not in serve.said
            assert serve.said.count("store.no_room") == serve.said.count("store.has_room_again")
    measured(
        capsys,
        f"full of {filled_by}: {len(sender.accepted)} acknowledged and stored, "
        f"{sender.refused} refused, accepted again after {seconds:.1f} s",
    )


def test_below_the_watermark_nothing_is_accepted_and_all_else_goes_on(tmp_path: Path) -> None:
    """R9, with room left: 4 MiB are to stay free."""
    require_namespaces()
    home = write_home(tmp_path / "home", settings=f"[store]\nmin_free_bytes = {4 << 20}\n")
    with small_disk(home, size_mib=24) as disk:
        program = disk.enter(sys.executable, "-m", "receiver.cli", "serve")
        with serving(home, program=program) as serve:
            sender = Sender(serve)
            assert sender.send() == 202
            wait_for((disk.seen / "data" / "clarihook.db.ballast").exists)
            disk.fill(leave_bytes=3 << 20)
            wait_for(lambda: health(serve)["accepts"] is False)
            assert sender.send() == 503
            assert "store.min_free_bytes is 4194304" in health(serve)["reason"]
            wait_for(lambda: all_handled(disk))
            assert (disk.seen / "data" / "clarihook.db.ballast").exists(), "there is room to write"
            disk.free()
            sender.send_until_accepted()
            nothing_is_lost(disk, sender)
            assert serve.stop() == 0
            assert serve.said.count("store.no_room") == 1
            assert serve.said.count("store.has_room_again") == 1


def test_a_server_starts_on_a_disk_that_is_full_but_for_its_ballast(tmp_path: Path) -> None:
    require_namespaces()
    home = write_home(tmp_path / "home", settings=SETTINGS)
    with small_disk(home, size_mib=24) as disk:
        program = disk.enter(sys.executable, "-m", "receiver.cli", "serve")
        with serving(home, program=program) as serve:
            assert serve.post(event_body("a"))[0] == 202
            wait_for((disk.seen / "data" / "clarihook.db.ballast").exists)
            serve.kill()
        disk.fill()
        with serving(home, program=program) as serve:
            sender = Sender(serve)
            assert sender.send() == 503
            disk.free()
            sender.send_until_accepted()
            assert serve.stop() == 0
