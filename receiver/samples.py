"""Samples of webhooks: bodies and headers as the sender of a source would make them."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from receiver.signatures import PRESETS, Scheme

SAMPLE_DATA: Mapping[str, dict[str, Any]] = {
    # As the vendor's reference shows it; the others are what events.py assumes.
    "data_source.sync_completed": {
        "data_source_id": 1,
        "data_source_name": "Production PostgreSQL",
        "records_synced": 15420,
        "duration_seconds": 45,
    },
    "data_source.sync_failed": {
        "data_source_id": 1,
        "data_source_name": "Production PostgreSQL",
        "error": "connection refused",
        "duration_seconds": 30,
    },
    "report.generated": {
        "report_id": 1,
        "report_name": "Weekly sales",
        "status": "published",
        "credits_used": 3,
    },
    "goal.milestone_reached": {
        "goal_id": 1,
        "goal_name": "Q4 revenue",
        "milestone": 75,
        "current_value": 75542.0,
        "target_value": 100000.0,
    },
    "billing.credits_low": {"remaining": 46, "total": 500, "percent": 9.2, "threshold": 10},
}
"""The data of clariBI's five events; an event of any other type has none."""


def nearest_type(event_type: str) -> str | None:
    """The clariBI event that a type is a slip of the pen from; None for one of its own.

    >>> nearest_type("billing.credit_low"), nearest_type("report.deleted")
    ('billing.credits_low', None)
    """
    if event_type in SAMPLE_DATA:
        return None
    near = difflib.get_close_matches(event_type, SAMPLE_DATA, 1, cutoff=0.9)
    return near[0] if near else None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a source looks for what makes an event: `header:NAME` or `json:/pointer`."""

    type_from: str
    dedupe: str

    @staticmethod
    def of(scheme: str, type_from: str | None = None, dedupe: str | None = None) -> "Places":
        """The scheme's own places, unless the source has others."""
        preset = PRESETS[scheme]
        return Places(type_from=type_from or preset.type_from, dedupe=dedupe or preset.dedupe)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A request, ready to be sent."""

    body: bytes
    headers: list[tuple[str, str]]


def make_sample(
    event_type: str,
    data: Mapping[str, Any],
    *,
    places: Places,
    scheme: Scheme,
    message_id: str,
    now: datetime,
) -> Sample:
    """A signed webhook. No two with different ids are equal, so none is taken for a duplicate."""
    value: dict[str, Any] = {
        "timestamp": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "data": {**SAMPLE_DATA.get(event_type, {}), **data},
    }
    headers = {"content-type": "application/json", "user-agent": "clarihook-events-send"}
    _put(places.type_from, event_type, value, headers)
    _put(places.dedupe, message_id, value, headers)
    body = json.dumps(value).encode()
    signed = scheme.sign(body, message_id=message_id, now=now.timestamp())
    headers |= {name.lower(): text for name, text in signed}
    return Sample(body=body, headers=list(headers.items()))


def _put(place: str, text: str, value: dict[str, Any], headers: dict[str, str]) -> None:
    """Write the text where the receiver will look for it."""
    kind, _, where = place.partition(":")
    if kind == "header":
        headers[where.lower()] = text
    elif kind == "json":
        *parents, last = [s.replace("~1", "/").replace("~0", "~") for s in where.split("/")[1:]]
        table = value
        for name in parents:
            inner = table.get(name)
            table[name] = table = inner if isinstance(inner, dict) else {}
        table[last] = text
