"""A handler's wait for a report or a sync is woken by the webhook that tells its end."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from claribi import waiting
from claribi.waker import News, Subject
from receiver.demo.world import open_world
from receiver.engine import Engine
from receiver.model import NewEvent
from receiver.registry import Registry
from receiver.settings import Settings
from receiver.store.configured import open_store
from receiver.store.ids import new_event_id


def _event(event_type: str) -> NewEvent:
    now_ms = int(time.time() * 1000)
    return NewEvent(
        new_event_id(now_ms), "claribi", event_type, now_ms, b"{}", "", None, 0, bytes(32)
    )


async def _hear(home: Path) -> News | None:
    settings = Settings.from_dict({"claribi": {"api_key": "made-up-api-key-0123456789"}}, home=home)
    engine = Engine(settings, open_store(settings, role="owner"), Registry())
    await engine.start()
    try:
        engine.wiring.resources.claribi()
        assert engine.waker is not None
        with engine.waker.watch(Subject("report", 15)) as watch:
            body = {"event": "report.generated", "data": {"report_id": 15}}
            await engine.intake.accept(_event("report.generated"), body)
            return await watch.wait(30)
    finally:
        await engine.stop()


def test_webhook_wakes_what_waits_for_its_report(tmp_path: Path) -> None:
    news = asyncio.run(_hear(tmp_path))
    assert news == News("report.generated", {"report_id": 15})


# From end to end: a handler waits, the sandbox's webhook comes in over HTTP, the wait is over.

HANDLER = """
from claribi import TaskFailedError
from receiver import on
from receiver.events import GoalReached


@on("goal.milestone_reached", attempts=1, timeout="100s")
async def start_and_wait(event: GoalReached, ctx):
    what, api = event.data.goal_name, ctx.claribi
    try:
        if what == "report":
            task = await api.reports.create(name="Waited for", template="sales_summary")
        else:
            task = await api.data_sources.sync(2)
        done = await task.wait(90)
    except TaskFailedError as error:
        ctx.notify("ops", title="failed", body=str(error))
    else:
        ctx.notify("ops", title=str(done.status), body=done.name)
"""


class Waiting(NamedTuple):
    """A wait of the handler above, and what it has to come to."""

    what: str
    path: str
    message: tuple[str, str]
    looks: int
    fails: bool = False


WAITS = [
    Waiting("report", "reports/15/", ("published", "Waited for"), looks=2),
    Waiting("sync", "data-sources/2/", ("active", "Google Analytics"), looks=2),
    Waiting(
        "sync",
        "data-sources/2/",
        ("failed", "data source 2 failed: Connection refused"),
        looks=1,
        fails=True,
    ),
]


@pytest.mark.parametrize("wait", WAITS, ids=["report.generated", "sync_completed", "sync_failed"])
def test_handlers_wait_ends_by_the_webhook_and_not_by_polling(
    wait: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look would be in 15 minutes: only the webhook can have caused the second one."""
    monkeypatch.setattr(waiting, "FIRST_POLL_SECONDS", 900.0)
    assert asyncio.run(_told(tmp_path, wait)) == (*wait.message, wait.looks)


async def _told(home: Path, wait: Waiting) -> tuple[str, str, int]:
    """The message of the handler that waited, and how often it had looked."""
    async with asyncio.timeout(30), open_world(home, {"handlers/waits.py": HANDLER}) as world:
        sandbox = world.sandbox
        sandbox.world.clock.speed = 1e-6  # work ends when `advance` says so, and no sooner
        if wait.fails:
            sandbox.fail_next_job("sync", "Connection refused")
        await sandbox.fire("goal.milestone_reached", goal_name=wait.what)
        await _until(lambda: sandbox.count_calls("GET", wait.path) > 0)
        sandbox.advance(timedelta(days=1_000))
        await _until(lambda: bool(world.inbox.messages))
        message = world.inbox.messages[0]
        return message["title"], message["message"], sandbox.count_calls("GET", wait.path)


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is looked at has no event to wait for
        await asyncio.sleep(0.01)
