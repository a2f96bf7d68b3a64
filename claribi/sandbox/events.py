"""The webhooks that clariBI would send: their bodies, and one delivery for each receiver."""

import json
import uuid
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from pydantic import JsonValue

from claribi.sandbox.records import Delivery
from claribi.sandbox.world import World

EVENT_TYPES = (
    "data_source.sync_completed",
    "data_source.sync_failed",
    "report.generated",
    "goal.milestone_reached",
    "billing.credits_low",
)
MAX_WAITING = 10_000
KEPT_DELIVERIES = 1_000

Data = dict[str, JsonValue]


def emit(world: World, event_type: str, data: Data) -> list[Delivery]:
    """Put one event on its way to every webhook that wants it; the deliveries, still pending."""
    message_id = f"msg_{uuid.uuid4().hex}"
    body = json.dumps({"event": event_type, "timestamp": _stamp(world), "data": data})
    made = [
        Delivery(
            id=world.state.next_id("delivery"),
            message_id=message_id,
            webhook_id=webhook.id,
            url=webhook.url,
            event=event_type,
            body=body,
            due_at=world.clock.now(),
        )
        for webhook in world.state.webhooks.values()
        if any(fnmatchcase(event_type, pattern) for pattern in webhook.events)
    ]
    for delivery in made:
        world.state.deliveries[delivery.id] = delivery
    _forget_old(world)
    world.bell.ring()
    return made


def example_data(world: World, event_type: str) -> Data:
    """Believable data for an event that a test fires; `{}` for a type we don't know."""
    state = world.state
    examples: dict[str, Data] = {
        "data_source.sync_completed": {
            "data_source_id": 1,
            "data_source_name": "Production PostgreSQL",
            "records_synced": 15420,
            "duration_seconds": 45,
        },
        "data_source.sync_failed": {
            "data_source_id": 5,
            "data_source_name": "Legacy MySQL",
            "error": "Connection to mysql.example.com:3306 refused",
            "duration_seconds": 30,
        },
        "report.generated": {
            "report_id": 1,
            "report_name": "Weekly Sales Summary",
            "status": "published",
            "task_id": "xyz789",
            "credits_used": 3,
        },
        "goal.milestone_reached": {
            "goal_id": 1,
            "goal_name": "Q3 revenue",
            "milestone": 75,
            "current_value": 75542.0,
            "target_value": 100000.0,
        },
        "billing.credits_low": credits_data(state.credits_remaining, state.credits_total),
    }
    return examples.get(event_type, {})


def credits_data(remaining: int, total: int) -> Data:
    """The data of `billing.credits_low`. Assumption: the reference doesn't show it."""
    percent = round(100 * remaining / total, 1) if total else 0.0
    return {"remaining": remaining, "total": total, "percent": percent, "threshold_percent": 10}


def _stamp(world: World) -> str:
    """Now, as the reference writes it; later events of one second get a fraction.

    So no two events have the same body: a receiver that knows no message id of this sender
    takes equal bodies for one event.
    """
    state = world.state
    state.last_event_ms = max(int(world.clock.now()) * 1000, state.last_event_ms + 1)
    moment = datetime.fromtimestamp(state.last_event_ms / 1000, UTC)
    precision = "milliseconds" if state.last_event_ms % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _forget_old(world: World) -> None:
    """Keep what waits, up to a bound, and the latest of what has ended."""
    deliveries = world.state.deliveries
    ended = [one.id for one in deliveries.values() if one.status != "pending"]
    waiting = [one.id for one in deliveries.values() if one.status == "pending"]
    for number in (*ended[:-KEPT_DELIVERIES], *waiting[:-MAX_WAITING]):
        del deliveries[number]
