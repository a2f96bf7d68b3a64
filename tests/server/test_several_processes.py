"""`serve --workers`, `serve --no-dispatch` and `work`: several processes on one file."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serve_process import (
    REPOSITORY,
    Load,
    Serve,
    event_body,
    measured,
    opened,
    serving,
    settle,
    write_home,
)

from receiver.store.sharing import can_share

pytestmark = pytest.mark.skipif(
    not can_share(runs_deliveries=True), reason="one process only, here"
)

UNFINISHED = "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"

HANDLERS = """
import asyncio
import os
import time
from pathlib import Path

from receiver import Context, on

HOME = Path(__file__).parents[1]


def note(file: str, text: str) -> None:
    descriptor = os.open(HOME / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\\n".encode())
    os.close(descriptor)


@on("load.sent", schedule=["100ms"])
async def handle(event: dict, ctx: Context) -> None:
    note("handled", f"{ctx.event.id} {os.getpid()}")


@on("test.alone", concurrency=1)
async def alone(event: dict, ctx: Context) -> None:
    # Whoever else is in here at the same time finds the folder, and fails.
    (HOME / "inside").mkdir()
    await asyncio.sleep(0.002)
    (HOME / "inside").rmdir()


@on("test.deadly", schedule=["50ms"])
async def deadly(event: dict) -> None:
    os._exit(7)


@on("test.blocking", schedule=["50ms"])
async def blocking(event: dict) -> None:
    time.sleep(120)


@on("test.slow")
async def slow(event: dict, ctx: Context) -> None:
    note("begun", f"{ctx.attempt} {os.getpid()}")
    while not (HOME / "go").exists():
        await asyncio.sleep(0.02)
"""


class Work(Serve):
    """`clarihook work` as a process of its own."""

    says_ready = "clarihook works on "


@contextmanager
def working(home: Path, *arguments: str) -> Iterator[Work]:
    command = [sys.executable, "-m", "receiver.cli", "work"]
    work = Work(home, *arguments, program=command)
    try:
        yield work.ready()
    finally:
        if work.process.poll() is None:
            work.process.kill()
        work.wait()


def members_of(serve: Serve) -> list[int]:
    """The processes that a supervisor has started."""
    children = Path(f"/proc/{serve.process.pid}/task/{serve.process.pid}/children")
    return [int(each) for each in children.read_text("ascii").split()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    for pid in pids:
        while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
            assert time.monotonic() < deadline, f"{pid} is left behind"
            time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def wait_for_lines(path: Path, count: int) -> list[str]:
    deadline = time.monotonic() + 30
    while not path.exists() or len(lines := path.read_text("ascii").splitlines()) < count:
        assert time.monotonic() < deadline, f"{path.name} has too few lines"
        time.sleep(0.01)
    return lines


def test_two_workers_handle_each_event_once(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--workers", "2") as serve:
        members = members_of(serve)
        assert len(members) == 2
        load = Load(serve, "load", enough=400)
        assert load.has_begun.wait(60)
        load.end()
        for number in range(40):
            assert serve.post(event_body(f"alone {number}", "test.alone"))[0] == 202
        settle(home, UNFINISHED, seconds=60)
        assert serve.stop() == 0, serve.said
    wait_until_gone(members)
    assert set(load.statuses) == {202}
    lines = [line.split() for line in (home / "handled").read_text("ascii").splitlines()]
    assert Counter(event for event, _ in lines) == dict.fromkeys(load.accepted, 1)
    assert {pid for _, pid in lines} == {str(pid) for pid in members}
    with opened(home) as database:
        states = database.execute(
            "SELECT name, state, max(attempts) FROM deliveries GROUP BY 1, 2"
        ).fetchall()
        assert states == [("deployed.alone", "succeeded", 1), ("deployed.handle", "succeeded", 1)]


def test_r7_a_handler_that_takes_its_process_down_is_dead_and_others_are_not_lost(
    tmp_path: Path,
) -> None:
    """B7. Members that die are replaced; the third death names the delivery."""
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--workers", "2") as serve:
        first = members_of(serve)
        load = Load(serve, "load", enough=50)
        assert load.has_begun.wait(60)
        with contextlib.suppress(http.client.HTTPException):  # its handler may be quicker
            serve.post(event_body("deadly", "test.deadly"))
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE state = 'dead'", seconds=60)
        load.end()
        settle(home, UNFINISHED, seconds=60)
        deadline = time.monotonic() + 30
        while len(members_of(serve)) < 2:
            assert time.monotonic() < deadline, "no replacement"
            time.sleep(0.05)
        assert set(members_of(serve)) != set(first)
        assert serve.stop() == 0, serve.said
    assert serve.said.count("serve.worker_died") == 3
    assert '"status": "exit 7"' in serve.said
    with opened(home) as database:
        rows = database.execute(
            "SELECT attempts, reason FROM deliveries WHERE state = 'dead'"
        ).fetchall()
        assert len(rows) == 1, rows
        attempts, reason = rows[0]
        assert attempts == 3
        assert reason.startswith("3 processes died or stood still while they ran it")
        stored = {row[0] for row in database.execute("SELECT id FROM events")}
        assert load.accepted.keys() <= stored
    handled = {line.split()[0] for line in (home / "handled").read_text("ascii").splitlines()}
    assert load.accepted.keys() <= handled


def test_r7_a_handler_that_blocks_its_process_for_ever_is_dead_and_the_server_goes_on(
    tmp_path: Path,
) -> None:
    """B7. A member whose loop is blocked says nothing to the supervisor, and is replaced; what it
    ran is taken up, and after three of them it is dead.
    """
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[dispatch]\nlease = "1s"')
    with serving(home, "--workers", "2") as serve:
        first = members_of(serve)
        with contextlib.suppress(OSError):  # the handler may be quicker than the answer
            serve.post(event_body("blocking", "test.blocking"), timeout=40)
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE state = 'dead'", seconds=80)
        deadline = time.monotonic() + 30
        while not is_served(serve):  # a member that it still blocks may have been asked
            assert time.monotonic() < deadline, "nobody serves"
        settle(home, UNFINISHED, seconds=60)
        serve.says("serve.worker_silent")
        wait_until_gone([pid for pid in first if f'"pid": {pid}' in serve.said])
        serve.signal(signal.SIGTERM)
        serve.wait(60)
    with opened(home) as database:
        ((attempts, reason),) = database.execute(
            "SELECT attempts, reason FROM deliveries WHERE state = 'dead'"
        ).fetchall()
    assert attempts == 3
    assert reason.startswith("3 processes died or stood still while they ran it")


def is_served(serve: Serve) -> bool:
    try:
        return serve.post(event_body("another"), timeout=2)[0] in (200, 202)
    except OSError:
        return False


def test_members_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--workers", "2") as serve:
        members = members_of(serve)
        assert serve.post(event_body("a"))[0] == 202
        settle(home, UNFINISHED)
        serve.process.kill()
        wait_until_gone(members)
    with serving(home, "--workers", "2") as serve:
        assert serve.stop() == 0


def test_a_blocked_member_ends_too_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[server]\ndrain_timeout="0s"')
    with serving(home, "--workers", "2") as serve:
        members = members_of(serve)
        with contextlib.suppress(OSError):  # the handler may be quicker than the answer
            serve.post(event_body("a", "test.blocking"), timeout=2)
        settle(home, "SELECT count(*) = 0 FROM deliveries WHERE state = 'running'")
        serve.process.kill()
        wait_until_gone(members)


def test_a_second_signal_ends_all_members_at_once(tmp_path: Path) -> None:
    home = write_home(
        tmp_path / "home", handlers=HANDLERS, settings='[server]\ndrain_timeout="60s"'
    )
    with serving(home, "--workers", "2") as serve:
        members = members_of(serve)
        assert serve.post(event_body("a", "test.slow"))[0] == 202
        wait_for_lines(home / "begun", 1)
        serve.signal(signal.SIGTERM)
        for pid in members:  # one of them drains for a minute
            if str(pid) not in (home / "begun").read_text("ascii"):
                wait_until_gone([pid])
        serve.signal(signal.SIGTERM)
        assert serve.wait() == 1
        wait_until_gone(members)
    (home / "go").touch()
    with serving(home, "--workers", "2") as serve:
        settle(home, UNFINISHED)
        assert serve.stop() == 0


def test_what_no_member_can_start_with_is_said_once(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers="import no_such_module\n")
    serve = Serve(home, "--workers", "3")
    assert serve.wait() == 2
    assert serve.said.count("no_such_module") >= 1
    assert serve.said.count("failed to load") == 1, serve.said
    assert "listens" not in serve.said


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """A12."""
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--workers", "2") as serve:
        for arguments in ((), ("--workers", "2")):
            second = Serve(home, *arguments)
            assert second.wait() == 1
            assert f"process {serve.process.pid} is serving this database already" in second.said
        assert serve.stop() == 0


def test_a_server_that_only_receives_leaves_the_work_to_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--no-dispatch") as serve:
        for number in range(20):
            assert serve.post(event_body(f"{number}"))[0] == 202
        with opened(home) as database:
            assert database.execute("SELECT state, count(*) FROM deliveries").fetchall() == [
                ("pending", 20)
            ]
        with working(home) as work:
            settle(home, UNFINISHED)
            waits = []
            for number in range(20):
                handled = len((home / "handled").read_text("ascii").splitlines())
                begun = time.monotonic()
                assert serve.post(event_body(f"idle {number}"))[0] == 202
                wait_for_lines(home / "handled", handled + 1)
                waits.append((time.monotonic() - begun) * 1000)
            settle(home, UNFINISHED)
            assert work.stop() == 0, work.said
        assert serve.stop() == 0
    waits.sort()
    measured(
        capsys,
        f"an idle worker of another process takes up an event after {waits[len(waits) // 2]:.0f} "
        f"ms (median), {waits[-1]:.0f} ms at most",
    )


def test_work_runs_no_more_at_a_time_than_it_is_told(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home, "--no-dispatch") as serve:
        for number in range(5):
            assert serve.post(event_body(f"{number}", "test.slow"))[0] == 202
        with working(home, "--concurrency", "2") as work:
            wait_for_lines(home / "begun", 2)
            with opened(home) as database:
                states = dict(database.execute("SELECT state, count(*) FROM deliveries GROUP BY 1"))
            assert states == {"running": 2, "pending": 3}
            (home / "go").touch()
            settle(home, UNFINISHED)
            assert work.stop() == 0
        assert serve.stop() == 0


def test_what_a_stopped_worker_gives_back_runs_elsewhere_at_once(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[server]\ndrain_timeout="0s"')
    with working(home) as first:
        with serving(home, "--no-dispatch") as serve:
            assert serve.post(event_body("a", "test.slow"))[0] == 202
            assert serve.stop() == 0
        (begun,) = wait_for_lines(home / "begun", 1)
        assert begun == f"1 {first.process.pid}"
        with working(home) as second:
            assert first.stop() == 0
            lines = wait_for_lines(home / "begun", 2)
            assert lines[1] == f"1 {second.process.pid}", "the stop gave its attempt back"
            (home / "go").touch()
            settle(home, UNFINISHED)
            assert second.stop() == 0


def test_one_that_stands_still_past_its_lease_loses_its_work_and_its_word(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT: another worker takes up what it ran; its own late end is void."""
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[dispatch]\nlease = "1s"')
    with working(home) as first:
        with serving(home, "--no-dispatch") as serve:
            assert serve.post(event_body("a", "test.slow"))[0] == 202
            wait_for_lines(home / "begun", 1)
            first.signal(signal.SIGSTOP)
            with working(home) as second:
                assert wait_for_lines(home / "begun", 2)[1] == f"2 {second.process.pid}"
                (home / "go").touch()
                settle(home, UNFINISHED)
                first.signal(signal.SIGCONT)
                first.says("delivery.lease_lost")
                # It is a worker as any other again.
                assert second.stop() == 0
                assert serve.post(event_body("b"))[0] == 202
                wait_for_lines(home / "handled", 1)
            assert serve.stop() == 0
        assert first.stop() == 0
    with opened(home) as database:
        assert database.execute(
            "SELECT number, outcome, error_class FROM attempts JOIN deliveries ON id = delivery_id "
            "WHERE name = 'deployed.slow' ORDER BY number"
        ).fetchall() == [(1, "unknown", "WorkerDied"), (2, "delivered", None)]


def test_a7_a_socket_of_systemd_outlives_a_restart(tmp_path: Path) -> None:
    """Connections that come between two servers wait, and are answered by the second."""
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        code = (
            f"import os, sys; os.dup2({listener.fileno()}, 3); os.environ['LISTEN_FDS'] = '1'; "
            "os.environ['LISTEN_PID'] = str(os.getpid()); "
            f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'receiver.cli', 'serve', "
            "*sys.argv[1:]])"
        )
        program = [sys.executable, "-c", code]
        with serving(home, program=program, pass_fds=(listener.fileno(),)) as first:
            assert first.address == listener.getsockname()
            assert first.post(event_body("a"))[0] == 202
            assert first.stop() == 0
        between = socket.create_connection(listener.getsockname())
        with serving(home, program=program, pass_fds=(listener.fileno(),)) as second:
            between.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert between.recv(12) == b"HTTP/1.1 200"
            between.close()
            assert second.stop() == 0


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--workers", "many"]])
def test_a_wrong_number_of_workers_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    answer = subprocess.run(
        [sys.executable, "-m", "receiver.cli", "serve", "--home", str(home), *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert re.search(r"--workers", answer.stderr)
