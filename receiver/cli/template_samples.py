"""What `clarihook templates render` shows a template with, if it is given no event.

Always at the same moment, so that what is rendered today is what was rendered yesterday.
"""

import json
from datetime import UTC, datetime
from typing import Any

from receiver.model import Event, EventId, Severity
from receiver.samples import SAMPLE_DATA

MOMENT = datetime(2026, 3, 2, 7, 42, tzinfo=UTC)

_DEAD = {
    "delivery_id": "dlv_cac7ee4f0801000", "kind": "target", "name": "ops/1-slack",
    "event_id": "evt_0195556f1a40c0ffee", "event_type": "billing.credits_low", "source": "claribi",
    "attempts": 8, "reason": "failed at attempt 8 of 8: HTTPStatus: 503 Service Unavailable",
    "error_class": "HTTPStatus", "error": "ops/1-slack: 503 Service Unavailable",
    "channel": "ops",
}  # fmt: skip
_USAGE = """\
              used   of
AI credits     454  500
Data sources     8   15
Users           11   15"""
_PRICING = """\
Plan                  price  AI credits  users  data sources
Starter (yours)          49         500     15            15
Professional            199        1500     50            50"""
_SEVERITIES = {
    "billing.credits_low": Severity.WARNING,
    "clarihook.delivery.dead": Severity.CRITICAL,
    "data_source.sync_completed": Severity.WARNING,
    "data_source.sync_failed": Severity.CRITICAL,
    "goal.milestone_reached": Severity.SUCCESS,
    "report.generated": Severity.SUCCESS,
}
_ADDED: dict[str, dict[str, Any]] = {
    "billing.credits_low": {
        "forecast": "At this rate they run out on Wednesday, 04 March 2026.",
        "usage": _USAGE,
        "pricing": _PRICING,
    },
    "data_source.sync_completed": {
        "oddities": ["the sync took 45 s, usual is 9 s"],
        "usual": 9,
    },
    "data_source.sync_failed": {
        "failures": 3,
        "since": datetime(2026, 3, 2, 6, 40, tzinfo=UTC),
        "data_source": "Production PostgreSQL, postgresql, error, last synced 2026-03-02 05:40 UTC",
        "resync": "was asked for earlier in this streak; have a look",
    },
    "report.generated": {
        "author": "Jane Smith",
        "report_url": "https://claribi.com/reports/1/",
    },
}
"""What the shipped handlers add to the event."""


def sample_event(name: str, data: dict[str, Any] | None = None) -> Event:
    """An event of the type that the template is named for, with a sample's data or these."""
    if data is None:
        data = _DEAD if name == "clarihook.delivery.dead" else SAMPLE_DATA.get(name, {})
    body = {"event": name, "timestamp": MOMENT.isoformat(), "data": data}
    return Event(
        id=EventId("evt_0195556f1a40c0ffee"),
        seq=1,
        source="claribi",
        type=name,
        received_at=MOMENT,
        body=json.dumps(body).encode(),
    )


def sample_severity(name: str) -> Severity:
    """That with which the template is usually sent."""
    return _SEVERITIES.get(name, Severity.INFO)


def sample_values(name: str) -> dict[str, Any]:
    """What a handler would add."""
    return {**_ADDED.get(name, {}), "now": MOMENT}
