"""B7: handlers that raise, hang, swallow their cancellation, take all memory, recurse for ever,
block the loop or end the process. Each is dead with a reason; the others around it all succeed.

R7: three deaths of the process end a delivery, and only that one: what dies with it is told apart.
"""

import contextlib
import http.client
import sys
from functools import partial
from pathlib import Path

import pytest
from reckoning import UNFINISHED, Reckoning, handled, titles, twice
from serve_process import Load, event_body, measured, opened, serving, settle, write_home
from setups import wait_until

from receiver.store.sharing import can_share

INNOCENTS = 200
ADDRESS_SPACE_KIB = 6 << 20
SERVE = ["sh", "-c", f'ulimit -v {ADDRESS_SPACE_KIB}; exec "$@"', "sh", sys.executable, "-m",
         "receiver.cli", "serve"]  # fmt: skip

REASONS = {
    "raises": "RuntimeError: guilty",
    "hangs": "TimeoutError: the handler did not end within 1 s",
    "swallows": "it ignored its cancellation",
    "hangs_in_a_thread": "it can't be cancelled",
    "takes_all_memory": "MemoryError",
    "recurses": "RecursionError",
    "blocks": "TimeoutError: the handler did not end within 1 s",
    "exits": "3 processes died or stood still while they ran it",
}

HANDLERS = """
import asyncio
import os
import time
from pathlib import Path

from receiver import Context, on

HOME = Path(__file__).parents[1]
GUILTY = {"timeout": "1s", "attempts": 2, "schedule": ["50ms"]}


@on("load.sent")
async def innocent(event: dict, ctx: Context) -> None:
    descriptor = os.open(HOME / "handled", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{ctx.event.id}\\n".encode())
    os.close(descriptor)
    ctx.notify("file", title=ctx.event.id, body="innocent")


@on("test.raises", **GUILTY)
async def raises(event: dict) -> None:
    raise RuntimeError("guilty")


@on("test.hangs", **GUILTY)
async def hangs(event: dict) -> None:
    await asyncio.sleep(3600)


@on("test.swallows", **GUILTY)
async def swallows(event: dict) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@on("test.hangs_in_a_thread", **GUILTY)
def hangs_in_a_thread(event: dict) -> None:
    time.sleep(3600)


@on("test.takes_all_memory", **GUILTY)
async def takes_all_memory(event: dict) -> None:
    held = [bytearray(1 << 30) for _ in range(1000)]


@on("test.recurses", **GUILTY)
async def recurses(event: dict) -> None:
    await recurses(event)


@on("test.blocks", **GUILTY)
async def blocks(event: dict) -> None:
    while True:
        time.sleep(0.4)
        await asyncio.sleep(0)


@on("test.exits", **{**GUILTY, "attempts": 8})
async def exits(event: dict) -> None:
    os._exit(3)
"""


def has_accepted(load: Load, count: int) -> bool:
    return len(load.accepted) >= count


def is_dead(home: Path, name: str) -> bool:
    return name in dead_of(home)


def dead_of(home: Path) -> dict[str, str]:
    """By name of the handler: why its delivery is dead."""
    with opened(home) as database:
        return dict(
            database.execute("SELECT name, reason FROM deliveries WHERE state = 'dead'").fetchall()
        )


@pytest.mark.chaos
@pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here")
def test_a_rude_handler_is_dead_with_a_reason_and_no_other_suffers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write_home(tmp_path / "home", handlers=HANDLERS)
    accepted: dict[str, bytes] = {}
    with serving(home, "--workers", "2", program=SERVE) as serve:
        for kind in REASONS:
            load = Load(serve, kind, clients=1, enough=INNOCENTS // 2)
            assert load.has_begun.wait(60)
            with contextlib.suppress(OSError, http.client.HTTPException):  # it may be quicker
                serve.post(event_body(kind, f"test.{kind}"))
            wait_until(partial(has_accepted, load, INNOCENTS), "others come")
            load.end()
            wait_until(partial(is_dead, home, f"deployed.{kind}"), f"what {kind} is dead")
            accepted |= load.accepted
        settle(home, UNFINISHED, seconds=90)
        assert serve.stop() == 0, serve.said
    dead = {name.removeprefix("deployed."): reason for name, reason in dead_of(home).items()}
    assert dead.keys() == REASONS.keys()
    for kind, reason in dead.items():
        assert REASONS[kind] in reason
    assert 'handler.blocks_the_loop", "level": "warning"' in serve.said
    assert '"name": "deployed.blocks"' in serve.said
    assert serve.said.count("serve.worker_died") == 3, "only os._exit ends a process"

    found = Reckoning(home)
    assert found.lost(accepted) == set()
    assert found.told_dead == len(REASONS)
    innocents = {event for event, body in found.stored.items() if b'"load.sent"' in body}
    assert found.states == {"succeeded": 2 * len(innocents), "dead": len(REASONS)}
    runs, written = handled(home), titles(home / "messages.jsonl")
    assert runs.keys() == written.keys() == innocents
    cut = found.cuts["deployed.innocent"].total()
    assert twice(runs) <= cut
    assert twice(written) <= found.cuts["file/1-file"].total()
    measured(
        capsys,
        f"{len(REASONS)} rude handlers, each dead with its reason; around them {len(innocents)} "
        f"events, all handled: {twice(runs)} twice, of {cut} that died with another's process",
    )
