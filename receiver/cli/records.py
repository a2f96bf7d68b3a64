"""What is stored, as JSON documents: the shapes that `--json` prints."""

import base64
from typing import Any

from receiver.cli.times import iso
from receiver.model import (
    Acknowledgement,
    Attempt,
    Delivery,
    Event,
    Message,
    State,
    format_delivery_id,
    from_ms,
    is_stand_in,
)
from receiver.replay import Progress


def event_summary(event: Event) -> dict[str, Any]:
    """An event without its body and headers."""
    return {
        "id": event.id,
        "received_at": iso(event.received_at),
        "source": event.source,
        "type": event.type,
        "bytes": len(event.body),
        "message_id": event.message_id,
        "secret_index": event.secret_index,
        "duplicates": event.duplicates,
    }


def event_record(event: Event) -> dict[str, Any]:
    """An event as it came. The body is text if it is UTF-8, else base64 in `body_base64`."""
    return {
        **event_summary(event),
        "headers": [list(pair) for pair in event.headers],
        **body_fields(event.body),
    }


def body_fields(body: bytes) -> dict[str, str]:
    """The exact bytes in a form that JSON can hold."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """A delivery."""
    return {
        "id": format_delivery_id(delivery.id),
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "kind": delivery.kind,
        "name": delivery.name,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "max_attempts": delivery.max_attempts,
        "key": delivery.key,
        "due_at": iso(delivery.due_at),
        "created_at": iso(delivery.created_at),
        "started_at": None if delivery.started_at is None else iso(delivery.started_at),
        "finalized_at": None if delivery.finalized_at is None else iso(delivery.finalized_at),
        "reason": reason_of(delivery),
        "replay_id": delivery.replay_id,
        "fallback_of": None
        if delivery.fallback_of is None
        else format_delivery_id(delivery.fallback_of),
        "held_by": delivery.hold_kind,
        "digest": None
        if delivery.merged_into is None
        else format_delivery_id(delivery.merged_into),
    }


def acknowledgement_record(acknowledgement: Acknowledgement) -> dict[str, Any]:
    """Who takes care of an event."""
    return {
        "event_id": acknowledgement.event_id,
        "at": iso(acknowledgement.at),
        "author": acknowledgement.author,
        "how": acknowledgement.how,
        "comment": acknowledgement.comment,
    }


def reason_of(delivery: Delivery) -> str | None:
    """Why it is in its state; for one that waits for a broken handler file, that."""
    if is_stand_in(delivery.name) and delivery.state is State.PENDING:
        return "its handler file is broken: see `clarihook handlers list`, mend it, restart"
    return delivery.reason


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    """An attempt of a delivery."""
    return {
        "number": attempt.number,
        "started_at": iso(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "outcome": attempt.outcome,
        "status_code": attempt.status_code,
        "error_class": attempt.error_class,
        "error": attempt.error,
        "traceback": attempt.traceback,
        "possible_duplicate": attempt.possible_duplicate,
    }


def message_record(message: Message) -> dict[str, Any]:
    """A message, without its attachments."""
    return {
        "channel": message.channel,
        "severity": message.severity,
        "title": message.title,
        "body": message.body,
        "format": message.format,
        "bodies": dict(message.bodies),
    }


def replay_record(progress: Progress) -> dict[str, Any]:
    """A replay and how far it is."""
    replay = progress.replay
    return {
        "id": replay.id,
        "status": progress.status,
        "created_at": iso(from_ms(replay.created_ms)),
        "author": replay.author,
        "selection": replay.selection,
        "selected": progress.selected,
        "events": replay.events,
        "sends_messages": not replay.is_quiet,
        "events_per_second": None if progress.rest is None else progress.rest.events_per_second,
        "concurrency": None if progress.rest is None else progress.rest.concurrency,
        "done": round(progress.done, 4),
        "states": dict(replay.states),
    }
