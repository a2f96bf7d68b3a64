"""A message that has to be cut names its event."""

import asyncio
from datetime import UTC, datetime

import pytest

from receiver.dispatch.run_target import message_to
from receiver.model import DeliveryId, Event, EventId, Message
from receiver.notify import SendResult
from receiver.notify.target import DELIVERED
from receiver.rate import Pace
from receiver.store.base import Claim


class Hears:
    """A target that keeps what it is given."""

    name = "ops/1-test"
    pace = Pace(None)

    def __init__(self) -> None:
        self.heard: list[Message] = []

    async def send(self, message: Message) -> SendResult:
        self.heard.append(message)
        return DELIVERED

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    ("public_url", "whole_at"),
    [
        (None, "clarihook events show evt_1"),
        ("https://hooks.example.com/", "https://hooks.example.com/events/evt_1"),
    ],
)
def test_the_target_is_told_where_the_whole_text_is(public_url: str | None, whole_at: str) -> None:
    event = Event(
        id=EventId("evt_1"), seq=1, source="s", type="t", received_at=datetime.now(UTC), body=b"{}"
    )
    claim = Claim(
        delivery_id=DeliveryId(1),
        name="ops/1-test",
        event=event,
        attempt=1,
        tries=1,
        max_attempts=8,
        since_ms=0,
        message=Message(channel="ops", title="T", body="B"),
    )
    target = Hears()

    async def run() -> None:
        await message_to(target, public_url)(claim)

    asyncio.run(run())
    assert target.heard[0].whole_at == whole_at
