"""A server whose loop is blocked says by whom; one that stood still was not blocked."""

import re
import signal
import time
from pathlib import Path

from serve_process import event_body, opened, serving, settle, write_home

HANDLERS = """
import asyncio
import time
from pathlib import Path

from receiver import on

HOME = Path(__file__).parents[1]


def fetch() -> None:
    time.sleep(0.6)


@on("test.blocking")
async def blocking(event: dict) -> None:
    fetch()


@on("test.waiting")
async def waiting(event: dict) -> None:
    (HOME / "begun").touch()
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
"""

UNFINISHED = "SELECT count(*) FROM deliveries WHERE state <> 'succeeded'"


def test_the_handler_that_blocks_the_server_is_named_in_its_log(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home) as serve:
        assert serve.post(event_body("a", "test.blocking"))[0] == 202
        settle(home, UNFINISHED)
        assert serve.stop() == 0
        (line,) = [each for each in serve.lines if "blocks_the_loop" in each]
    assert "deployed.blocking" in line
    assert re.search(r"deployed\.py:\d+ in fetch", line)


def test_a_server_that_stood_still_blames_no_handler(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    with serving(home) as serve:
        assert serve.post(event_body("a", "test.waiting"))[0] == 202
        deadline = time.monotonic() + 20
        while not (home / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        serve.signal(signal.SIGSTOP)
        time.sleep(1.5)  # how long it stands still is what matters here
        serve.signal(signal.SIGCONT)
        assert serve.post(event_body("b", "test.other"))[0] == 202
        (home / "go").touch()
        settle(home, UNFINISHED)
        assert serve.stop() == 0
        assert "blocks_the_loop" not in serve.said
        assert "loop.blocked" not in serve.said
    with opened(home) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (2,)
