"""The settings' retention, on a real store."""

import asyncio
import hashlib
import time
from datetime import timedelta
from pathlib import Path

from receiver.housekeeping import EVENTS_AT_A_TIME, keep_house, prune_all
from receiver.model import NewEvent
from receiver.settings import Settings
from receiver.store.base import EventFilter, Rejection
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

NOW_MS = int(time.time() * 1000)


def _event(number: int, received_ms: int) -> NewEvent:
    key = hashlib.sha256(b"%d" % number).digest()
    return NewEvent(
        new_event_id(received_ms), "claribi", "a.b", received_ms, b"{}", "", None, 0, key
    )


async def _what_is_left(home: Path, keep: str) -> int:
    settings = Settings.from_dict({"store": {"keep": keep}}, home=home)
    day_ms = int(timedelta(days=1).total_seconds() * 1000)
    store = SqliteStore(home / "clarihook.db")
    await store.open()
    try:
        many = EVENTS_AT_A_TIME + 50
        for number in range(many):
            await store.record(_event(number, NOW_MS - 10 * day_ms), ())
        await store.record(_event(many, NOW_MS - day_ms), ())
        removed = await prune_all(store, settings.store, now_ms=NOW_MS)
        left = await store.count_events(EventFilter())
        assert removed + left == many + 1
        return left
    finally:
        await store.close()


def test_events_older_than_keep_are_all_removed(tmp_path: Path) -> None:
    assert asyncio.run(_what_is_left(tmp_path, "5d")) == 1


def test_events_within_keep_all_stay(tmp_path: Path) -> None:
    assert asyncio.run(_what_is_left(tmp_path, "11d")) == EVENTS_AT_A_TIME + 51


def test_refused_requests_are_removed_by_age_while_a_server_is_up(tmp_path: Path) -> None:
    async def keep(max_age: timedelta) -> list[int]:
        store = SqliteStore(tmp_path / "clarihook.db")
        await store.open()
        try:
            for days in (1, 3, 9):
                await store.reject(
                    Rejection(received_ms=NOW_MS - days * 86_400_000, source="a", status=401,
                              reason="missing", headers="", body=b"", body_bytes=0)
                )  # fmt: skip
            settings = Settings.from_dict(
                {"rejections": {"max_age": f"{max_age.days}d"}}, home=tmp_path
            )
            house = asyncio.create_task(keep_house(store, lambda: settings))
            left = [0, 0, 0]
            while len(left) == 3:
                await asyncio.sleep(0.01)
                found = await store.rejections(limit=9)
                left = [(NOW_MS - each.received_ms) // 86_400_000 for each in found]
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)
            return left
        finally:
            await store.close()

    # The latest is written last and has the highest number; by age it is the oldest.
    assert asyncio.run(keep(timedelta(days=5))) == [3, 1]
