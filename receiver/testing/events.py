"""Events for tests, from whatever is at hand."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from receiver.errors import UsageError
from receiver.model import Event, EventId

EventLike = str | Mapping[str, Any] | bytes | BaseModel | Event
"""An event's type, a whole body (dict, raw bytes, or a model), or a stored event."""


def make_event(event: EventLike, data: Mapping[str, Any] | None = None) -> Event:
    """The stored event as it would be had this arrived now. A type alone gets `data`.

    Raises UsageError if `data` comes with more than a type.
    """
    if data is not None and not isinstance(event, str):
        raise UsageError("`data` goes with an event's type, not with a whole body")
    if isinstance(event, Event):
        return event
    now = datetime.now(UTC)
    if isinstance(event, str):
        event = {"event": event, "timestamp": now.isoformat(), "data": dict(data or {})}
    body = _body(event)
    return Event(
        id=EventId("evt_test"),
        seq=1,
        source="test",
        type=_type_of(body),
        received_at=now,
        body=body,
        header_text="content-type: application/json",
    )


def _body(event: Mapping[str, Any] | bytes | BaseModel) -> bytes:
    if isinstance(event, bytes):
        return event
    if isinstance(event, BaseModel):
        return event.model_dump_json(exclude_unset=True).encode()
    return json.dumps(dict(event)).encode()


def _type_of(body: bytes) -> str:
    """The type by clariBI's convention, its key `event`; "" for a body of another sender."""
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    event_type = value.get("event") if isinstance(value, dict) else None
    return event_type if isinstance(event_type, str) else ""
