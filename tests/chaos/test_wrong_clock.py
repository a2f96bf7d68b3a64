"""A8: the wall clock jumps an hour or a month, stands still, changes to summer time and back.

R6: leases go by the monotonic clock, so that no jump takes anybody for dead. Signatures go by
the wall clock, and so do the moments at which retries are due: no jump makes more of these.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from reckoning import UNFINISHED
from serve_process import Serve, event_body, measured, opened, serving, settle, write_home
from setups import wait_until
from wrong_clock import WallClock

pytestmark = pytest.mark.chaos

WAIT = 0.4
"""Seconds between the attempts of `flaky`."""
SUMMER_TIME_ENDS = datetime(2026, 10, 25, 1, tzinfo=UTC)
SUMMER_TIME_BEGINS = datetime(2027, 3, 28, 1, tzinfo=UTC)

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


@on("test.plain")
async def plain(event: dict, ctx: Context) -> None:
    note("plain", ctx.event.id)


@on("test.flaky", schedule=["400ms"], jitter=0, attempts=3)
async def flaky(event: dict, ctx: Context) -> None:
    note("flaky", f"{ctx.event.id} {time.monotonic()}")
    if ctx.attempt < 3:
        raise ValueError("not yet")


@on("test.held", key="event")
async def held(event: dict, ctx: Context) -> None:
    note("held", event["data"]["name"])
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
"""


@dataclass(frozen=True, kw_only=True)
class Jump:
    """From the true time to another one, and what the receiver's clock says then."""

    name: str
    make: Callable[[WallClock], Callable[[], float]]


def shifted(by: timedelta) -> Callable[[WallClock], Callable[[], float]]:
    def make(clock: WallClock) -> Callable[[], float]:
        clock.shift(by.total_seconds())
        return lambda: time.time() + by.total_seconds()

    return make


def frozen(clock: WallClock) -> Callable[[], float]:
    moment = time.time()
    clock.freeze(moment)
    return lambda: moment


def across(moment: datetime) -> Callable[[WallClock], Callable[[], float]]:
    """To a second before a change between summer and winter time."""

    def make(clock: WallClock) -> Callable[[], float]:
        return shifted(moment - timedelta(seconds=1) - datetime.now(UTC))(clock)

    return make


JUMPS = [
    Jump(name="an hour ahead", make=shifted(timedelta(hours=1))),
    Jump(name="an hour back", make=shifted(timedelta(hours=-1))),
    Jump(name="30 days ahead", make=shifted(timedelta(days=30))),
    Jump(name="standing still", make=frozen),
    Jump(name="the end of summer time", make=across(SUMMER_TIME_ENDS)),
    Jump(name="the beginning of summer time", make=across(SUMMER_TIME_BEGINS)),
]


def lease_of(home: Path) -> int:
    with opened(home) as database:
        return int(database.execute("SELECT max(lease_until) FROM workers").fetchone()[0])


def attempts_of(home: Path, event_id: str) -> tuple[int, str]:
    with opened(home) as database:
        row = database.execute(
            "SELECT deliveries.attempts, deliveries.state FROM deliveries "
            "JOIN events ON events.seq = event_seq WHERE events.id = ?",
            (event_id,),
        ).fetchone()
    return int(row[0]), str(row[1])


def accepted(serve: Serve, name: str, kind: str, *, at: float | None = None) -> str:
    status, answer = serve.post(event_body(name, kind), at=at)
    assert status == 202, answer
    return str(answer["id"])


def lines_of(file: Path) -> list[str]:
    return file.read_text("ascii").splitlines() if file.exists() else []


@pytest.mark.parametrize("jump", JUMPS, ids=[jump.name.replace(" ", "-") for jump in JUMPS])
def test_a_jump_of_the_wall_clock_cuts_nothing_and_repeats_nothing(
    tmp_path: Path, clock: Path, jump: Jump
) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings='[dispatch]\nlease = "2s"\n')
    wall = WallClock(tmp_path / "clock", clock, zone="Europe/Berlin")
    with serving(home, environment=wall.environment) as serve:
        held = accepted(serve, "first", "test.held")
        flaky = accepted(serve, "flaky", "test.flaky")
        wait_until(lambda: lines_of(home / "flaky"), "the first attempt")

        now = jump.make(wall)
        is_far = abs(now() - time.time()) > 300
        lease = lease_of(home)
        status, _ = serve.post(event_body("signed by the true time", "test.plain"))
        assert status == (401 if is_far else 202), "the tolerance goes by the receiver's clock"
        before = now()
        plain = accepted(serve, "plain", "test.plain", at=now())
        after = now()
        wait_until(lambda: plain in lines_of(home / "plain"), "what comes now is handled now")
        wait_until(lambda: lease_of(home) >= lease + 2500, "the heart has beaten past the lease")
        assert attempts_of(home, held) == (1, "running"), "nobody takes it for dead"
        if jump.make is not frozen and now() > time.time():
            wait_until(lambda: attempts_of(home, flaky)[1] == "succeeded", "the retries")
        (home / "go").touch()
        wait_until(lambda: attempts_of(home, held) == (1, "succeeded"), "its end is taken")

        wall.shift(0)
        settle(home, UNFINISHED)
        assert serve.stop() == 0
        assert "Traceback" not in serve.said, serve.said
        assert "lease_lapsed" not in serve.said
        assert "rescued" not in serve.said
    assert attempts_of(home, flaky) == (3, "succeeded")
    moments = [float(line.split()[1]) for line in lines_of(home / "flaky")]
    waits = sorted(later - earlier for earlier, later in pairwise(moments))
    assert len(waits) == 2
    assert waits[1] >= WAIT * 0.9, "a jump ahead makes one retry come early, never more"
    with opened(home) as database:
        ((received,),) = database.execute(
            "SELECT received_at / 1000.0 FROM events WHERE id = ?", (plain,)
        )
        assert before - 1 <= received <= after + 1, "stamped by the receiver's clock"
        outcomes = dict(database.execute("SELECT outcome, count(*) FROM attempts GROUP BY 1"))
    assert outcomes.keys() == {"delivered", "transient"}


def test_order_by_key_outlives_a_restart_with_the_clock_put_back(
    tmp_path: Path, clock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was due by the clock that went ahead drains once it is due by the true one."""
    settings = '[server]\ndrain_timeout = "0s"\n'
    home = write_home(tmp_path / "home", handlers=HANDLERS, settings=settings)
    wall = WallClock(tmp_path / "clock", clock)
    with serving(home, environment=wall.environment) as serve:
        for name in ("first", "second"):
            accepted(serve, name, "test.held")
        wait_until(lambda: lines_of(home / "held"), "it runs")
        assert serve.stop() == 0
    (home / "held").unlink()
    (home / "go").touch()
    wall.shift(-3600)
    with serving(home, environment=wall.environment) as serve:
        accepted(serve, "third", "test.held", at=time.time() - 3600)
        wall.shift(0)
        settle(home, UNFINISHED)
        assert serve.stop() == 0
    assert lines_of(home / "held") == ["first", "second", "third"]
    measured(capsys, f"the wall clock: {len(JUMPS)} jumps, nothing cut, nothing run twice")
