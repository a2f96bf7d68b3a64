"""A handler's wait for a report or a sync is woken by the webhook that tells its end."""

import asyncio
import time
from pathlib import Path

from claribi.waker import News, Subject
from receiver.engine import Engine, open_store
from receiver.model import NewEvent
from receiver.registry import Registry
from receiver.settings import Settings
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
        engine.resources.claribi()
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
