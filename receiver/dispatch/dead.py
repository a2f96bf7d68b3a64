"""The event that tells of a dead delivery, planned like any other."""

import hashlib
import time
from typing import Final

from receiver.dispatch.intake import Planner
from receiver.events import DeliveryDead, DeliveryDeadData
from receiver.model import (
    INTERNAL_SOURCE,
    NewDelivery,
    NewEvent,
    format_delivery_id,
    from_ms,
    is_internal,
)
from receiver.store.base import DeadDelivery, OnDead
from receiver.store.ids import new_event_id

DEAD: Final = "clarihook.delivery.dead"


def tell_of_dead(planner: Planner) -> OnDead:
    """What a store asks when a delivery becomes dead."""

    def tell(dead: DeadDelivery) -> tuple[NewEvent, tuple[NewDelivery, ...]] | None:
        if is_internal(dead.source, dead.event_type):
            return None  # or a handler that fails at every event would never come to an end
        told = _told(dead, int(time.time() * 1000))
        event = _event(dead, told)
        plan = planner.plan(event.source, event.type)
        return event, plan.for_event(told.model_dump(mode="json"))

    return tell


def _told(dead: DeadDelivery, now_ms: int) -> DeliveryDead:
    fields = {**dead._asdict(), "delivery_id": format_delivery_id(dead.delivery_id)}
    return DeliveryDead(
        event=DEAD, timestamp=from_ms(now_ms), data=DeliveryDeadData.model_validate(fields)
    )


def _event(dead: DeadDelivery, told: DeliveryDead) -> NewEvent:
    now_ms = int(told.timestamp.timestamp() * 1000)
    # Revived by hand it may be dead once more, after another attempt.
    once = f"{DEAD}/{dead.delivery_id}/{dead.attempts}"
    return NewEvent(
        id=new_event_id(now_ms),
        source=INTERNAL_SOURCE,
        type=DEAD,
        received_ms=now_ms,
        body=told.model_dump_json().encode(),
        headers="",
        message_id=None,
        secret_index=None,
        dedupe_key=hashlib.sha256(once.encode()).digest(),
    )
