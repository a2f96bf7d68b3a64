"""What every template can speak of."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from receiver.model import Event, Severity

EVENT_PATH = "/events/{id}"
"""Where the console shows an event, below its public address."""


def event_url(public_url: str | None, event_id: str) -> str | None:
    """Where people see the event; None where no address of this server is known.

    >>> event_url("https://hooks.example.com/", "evt_1"), event_url(None, "evt_1")
    ('https://hooks.example.com/events/evt_1', None)
    """
    return public_url and public_url.rstrip("/") + EVENT_PATH.format(id=event_id)


def values_of(event: Event, severity: Severity, public_url: str | None) -> dict[str, Any]:
    """The values that any template is rendered with. Raises ValueError for a body that is no JSON.

    `data` is always a mapping: of an event's `data` that is none, `value` is all of it.
    """
    body = event.json
    data = body.get("data") if isinstance(body, Mapping) else body
    if not isinstance(data, Mapping):
        data = {} if data is None else {"value": data}
    happened = body.get("timestamp") if isinstance(body, Mapping) else None
    return {
        "event": body,
        "data": data,
        "event_type": event.type,
        "event_id": event.id,
        "event_url": event_url(public_url, event.id),
        "source": event.source,
        "received_at": event.received_at,
        "happened_at": happened if isinstance(happened, str) else event.received_at,
        "severity": severity.value,
        "now": datetime.now(UTC),
    }


def listing(value: Any) -> str:
    """An event's data without any template: one `name: value` line each."""
    data = value.get("data", value) if isinstance(value, dict) else value
    if not isinstance(data, dict):
        return json.dumps(data, ensure_ascii=False)
    return "\n".join(f"{name}: {_shown(each)}" for name, each in data.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
