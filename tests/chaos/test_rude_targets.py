"""B2, B3: targets that reset, hang, drip, flood, lie or lead astray. R8: bounded in time and size,
no redirect followed. Each attempt ends in time, with its reason; other targets notice nothing.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from reckoning import UNFINISHED
from rude_sink import being_rude
from serve_process import Serve, event_body, measured, opened, serving, write_home
from setups import wait_until

TIMEOUT = 3.0
MARGIN = 6.0
"""What an attempt, or a message to a good target, may take beyond that on a busy machine."""
WAIT = 0.3
"""Seconds between two attempts, where the target asks for none."""
GOOD_EVENTS = 30
MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is recorded of one target."""

    outcome: str
    error_classes: tuple[str | None, ...] = (None,)
    status: int | None = None
    attempts: int = 2
    wait: float = WAIT


DELIVERED = Case(outcome="delivered", status=200, attempts=1)
CUT = Case(outcome="unknown", error_classes=("ConnectionError",))
ABANDONED = Case(outcome="unknown", error_classes=("DeadlineExceeded", "ReadTimeout"))


def refused(status: int, *, wait: float = WAIT, attempts: int = 2) -> Case:
    return Case(outcome="transient", error_classes=("HTTPStatus",), status=status, wait=wait,
                attempts=attempts)  # fmt: skip


def moved(status: int) -> Case:
    return Case(outcome="permanent", error_classes=("HTTPStatus",), status=status, attempts=1)


CASES = {
    "reset": CUT,
    "half_a_head": CUT,
    "flood": ABANDONED,
    "hang": ABANDONED,
    "slow_head": ABANDONED,
    "slow_body": ABANDONED,
    "huge": DELIVERED,
    "huge_failure": refused(500),
    "bad_gzip": DELIVERED,
    "gzip_bomb": refused(502),
    "broken": refused(500),
    "redirect_to_metadata": moved(301),
    "redirect_here": moved(302),
    "later_by_seconds": refused(429, wait=2.0),
    "later_by_date": refused(429, wait=1.9),  # a date has no fractions
    "later_by_garbage": refused(429),
    "much_later": refused(429, attempts=1),
    "no_tls": Case(outcome="transient", error_classes=("SSLError",)),
}

HANDLERS = f"""
from receiver import Context, on


@on("test.all")
async def tell_all(event: dict, ctx: Context) -> None:
    for channel in {[*CASES, "good"]!r}:
        ctx.notify(channel, title=ctx.event.id, body="x")


@on("test.good")
async def tell(event: dict, ctx: Context) -> None:
    ctx.notify("good", title=ctx.event.id, body="x")
"""

ATTEMPTS = """
SELECT
    substr(deliveries.name, 1, instr(deliveries.name, '/') - 1),
    deliveries.state,
    deliveries.due_at / 1000.0,
    attempts.outcome,
    attempts.error_class,
    attempts.status_code,
    attempts.duration_ms / 1000.0,
    attempts.started_at / 1000.0
FROM deliveries
JOIN attempts ON attempts.delivery_id = deliveries.id
WHERE deliveries.kind = 'target' AND deliveries.name NOT LIKE 'good/%'
ORDER BY attempts.delivery_id, attempts.number
"""
SLOWEST_GOOD = """
SELECT max(finalized_at - created_at) / 1000.0, count(*), sum(attempts)
FROM deliveries
WHERE name LIKE 'good/%' AND state = 'succeeded'
"""


def deployment(home: Path, address: str) -> Path:
    rude = "".join(
        f'[channels.{name}]\nurls = ["{"jsons" if name == "no_tls" else "json"}://{address}/{name}"'
        f']\ntimeout = "{TIMEOUT:g}s"\nattempts = 2\nschedule = ["{WAIT:g}s"]\njitter = 0\n'
        "circuit_failures = 0\n"
        for name in CASES
    )
    good = f'[channels.good]\nurls = ["json://{address}/good"]\n'
    return write_home(home, handlers=HANDLERS, settings=rude + good)


def peak_memory_bytes(serve: Serve) -> int:
    status = Path(f"/proc/{serve.process.pid}/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def unfinished(home: Path) -> int:
    with opened(home) as database:
        return int(database.execute(UNFINISHED).fetchone()[0])


@pytest.mark.chaos
def test_rude_targets_are_left_in_time_and_good_ones_notice_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with being_rude() as sink:
        home = deployment(tmp_path / "home", sink.address)
        with serving(home) as serve:
            status, warm = serve.post(event_body("warm", "test.good"))
            assert status == 202
            wait_until(lambda: unfinished(home) == 0, "Apprise is loaded")
            memory = serve.memory_bytes()
            status, rude = serve.post(event_body("all", "test.all"))
            assert status == 202
            good = [serve.post(event_body(f"{n}", "test.good")) for n in range(GOOD_EVENTS)]
            assert {status for status, _ in good} == {202}
            wait_until(lambda: unfinished(home) == 1, "all but one have ended")
            grown = peak_memory_bytes(serve) - memory
            with opened(home) as database:
                rows = database.execute(ATTEMPTS).fetchall()
                slowest, succeeded, tries = database.execute(SLOWEST_GOOD).fetchone()
            assert serve.stop() == 0
            assert "Traceback" not in serve.said
    attempts: dict[str, list[tuple[object, ...]]] = {}
    for name, *row in rows:
        attempts.setdefault(name, []).append(tuple(row))
    assert attempts.keys() == CASES.keys()
    longest = 0.0
    for name, case in CASES.items():
        assert len(attempts[name]) == case.attempts, name
        ended = None
        for _, _, outcome, error_class, code, seconds, started in attempts[name]:
            assert (outcome, code) == (case.outcome, case.status), name
            assert error_class in case.error_classes, name
            assert isinstance(seconds, float)
            assert isinstance(started, float)
            assert seconds < TIMEOUT + MARGIN, name
            if ended is not None:
                assert started - ended >= case.wait - 0.1, f"{name}: tried again too soon"
            longest, ended = max(longest, seconds), started + seconds
        state = "succeeded" if case.outcome == "delivered" else "dead"
        if name == "much_later":
            state, due = "retrying", attempts[name][0][1]
            assert isinstance(due, float)
            assert 3500 < due - time.time() < 3 * 86_400, "later, but not in 30 years"
        assert {row[0] for row in attempts[name]} == {state}, name
    events = {rude["id"], warm["id"], *(answer["id"] for _, answer in good)}
    assert sink.received["/good"] == dict.fromkeys(events, 1)
    assert (succeeded, tries) == (len(events), len(events))
    assert "/landed" not in sink.moments, "a redirect was followed"
    assert slowest < MARGIN, "a good target waited for a bad one"
    assert grown < MEMORY_BYTES
    measured(
        capsys,
        f"{len(CASES)} ways of being rude: the longest attempt took {longest:.1f} s of "
        f"{TIMEOUT:g}, {len(events)} messages to a good target once each, the slowest after "
        f"{slowest:.2f} s; memory grew by {grown >> 20} MiB at most",
    )
