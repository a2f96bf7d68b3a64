"""A6: little memory, few files. Events are served or refused with 503; none is lost."""

import http.client
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest
from serve_process import Serve, measured, opened, serving, settle, sign, write_home

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

UNDONE = (
    "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'running') "
    "OR (state = 'retrying' AND attempts = 0)"
)
"""What failed for want of memory is tried again later, maybe in minutes."""
MAX_BODY_BYTES = 1_048_576
CLIENTS = 24
EACH = 6


class Big:
    """Clients that each send events of the greatest size, on a connection of their own each."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.accepted: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        """How many answers of each status."""
        self.wrong: list[dict[str, str]] = []
        """Answers of any status but these."""
        self.unanswered = 0
        self._lock = threading.Lock()

    def send_all(self) -> None:
        clients = [threading.Thread(target=self._send, args=(n,)) for n in range(CLIENTS)]
        for each in clients:
            each.start()
        for each in clients:
            each.join(120)

    def _send(self, number: int) -> None:
        for count in range(EACH):
            head = json.dumps({"event": "load.sent", "data": {"id": f"{number}-{count}"}})[:-2]
            body = head.encode() + b', "padding": "'
            body += b"x" * (MAX_BODY_BYTES - len(body) - 3) + b'"}}'
            assert self.serve.address is not None
            connection = http.client.HTTPConnection(*self.serve.address, timeout=60)
            try:
                headers = {"X-ClariBI-Signature": sign(body)}
                connection.request("POST", "/hooks/claribi", body, headers)
                reply = connection.getresponse()
                answer = json.loads(reply.read())
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.unanswered += 1
                continue
            finally:
                connection.close()
            with self._lock:
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                if reply.status not in (202, 503):
                    self.wrong.append(answer)
                if reply.status == 202:
                    self.accepted[answer["id"]] = len(body)


def is_well(home: Path, serve: Serve) -> None:
    """It accepts, does what there is to do, and stops in order."""
    assert serve.post(json.dumps({"event": "load.sent", "data": {}}).encode())[0] in (200, 202)
    settle(home, UNDONE, seconds=60)
    assert serve.stop() == 0


@pytest.mark.parametrize(
    "limit", [f"--as={400 << 20}", "--nofile=64"], ids=["400 MiB of addresses", "64 files"]
)
def test_with_little_it_serves_or_refuses_and_loses_nothing(
    tmp_path: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("needs prlimit (Debian: util-linux)")
    home = write_home(tmp_path / "home")
    program = [prlimit, limit, sys.executable, "-m", "receiver.cli", "serve"]
    with serving(home, program=program) as serve:
        big = Big(serve)
        big.send_all()
        try:
            is_well(home, serve)
            has_died = False
        except OSError:
            # pydantic's core is written in Rust, which ends the process when it gets no memory.
            has_died = True
    if has_died:
        with serving(home, program=program) as serve:
            is_well(home, serve)  # no crash loop
    assert not big.wrong
    assert big.statuses.get(202), "some are served"
    with opened(home) as database:
        stored = dict(database.execute("SELECT id, length(body) FROM events").fetchall())
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert big.accepted.items() <= stored.items()
    measured(capsys, f"{limit}: {big.statuses}, {big.unanswered} without an answer"
             f"{', died and went on' if has_died else ''}")  # fmt: skip
