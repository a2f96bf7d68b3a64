"""The models of clariBI's events cope with what the reference leaves open."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.events import (
    MODELS,
    ClariBIEvent,
    CreditsLow,
    GoalReached,
    ReportGenerated,
    SyncCompleted,
    SyncFailed,
)

# Vendor's reference, "Webhook Payload Example".
DOCUMENTED = {
    "event": "data_source.sync_completed",
    "timestamp": "2025-07-15T08:00:00Z",
    "data": {
        "data_source_id": 1,
        "data_source_name": "Production PostgreSQL",
        "records_synced": 15420,
        "duration_seconds": 45,
    },
}
UNDOCUMENTED = sorted(set(MODELS) - {"data_source.sync_completed"})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KNOWN_FIELDS = [
    "data_source_id", "data_source_name", "error", "error_message", "message", "reason", "id",
    "name", "report_id", "report", "goal", "goal_id", "milestone", "current_value", "remaining",
    "total", "percent", "ai_credits", "threshold", "status", "get", "copy", "model_fields",
]  # fmt: skip


def test_the_documented_example_is_read_whole() -> None:
    event = SyncCompleted.model_validate_json(json.dumps(DOCUMENTED))
    assert event.timestamp == datetime(2025, 7, 15, 8, tzinfo=UTC)
    assert event.data.data_source_id == 1
    assert event.data.data_source_name == "Production PostgreSQL"
    assert (event.data.records_synced, event.data.duration_seconds) == (15420, 45.0)


def test_what_the_reference_documents_is_required() -> None:
    with pytest.raises(ValidationError, match="records_synced"):
        SyncCompleted.model_validate({**DOCUMENTED, "data": {"data_source_id": 1}})


def test_fields_that_no_model_names_are_kept() -> None:
    event = SyncCompleted.model_validate(
        {**DOCUMENTED, "organization": 4, "data": {**DOCUMENTED["data"], "region": "eu"}}  # type: ignore[dict-item]
    )
    assert event.data.get("region") == "eu"
    assert event.data.get("nothing", "default") == "default"
    assert event.data.get("get", "default") == "default"
    assert event.model_extra == {"organization": 4}


@pytest.mark.parametrize("event_type", UNDOCUMENTED)
@pytest.mark.parametrize("rest", [{}, {"data": None}, {"data": {}}, {"data": [1]}, {"data": "x"}])
def test_beyond_the_envelope_nothing_is_required(event_type: str, rest: dict[str, Any]) -> None:
    event = MODELS[event_type].model_validate({"event": event_type, **rest})
    assert event.event == event_type
    if rest.get("data"):
        assert event.data.get("value") == rest["data"]


@given(
    event_type=st.sampled_from(UNDOCUMENTED),
    data=st.dictionaries(st.sampled_from(KNOWN_FIELDS) | st.text(), json_values) | json_values,
    timestamp=json_values,
)
def test_no_payload_of_any_shape_is_refused(event_type: str, data: Any, timestamp: Any) -> None:
    body = json.dumps({"event": event_type, "timestamp": timestamp, "data": data})
    event = MODELS[event_type].model_validate_json(body.encode())
    assert event.timestamp.utcoffset() is not None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-07-15T08:00:00Z", datetime(2025, 7, 15, 8, tzinfo=UTC)),
        ("2025-07-15T08:00:00", datetime(2025, 7, 15, 8, tzinfo=UTC)),
        ("2025-07-15T10:00:00+02:00", datetime(2025, 7, 15, 8, tzinfo=UTC)),
        (1752566400, datetime(2025, 7, 15, 8, tzinfo=UTC)),
        ("yesterday", datetime(2020, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", datetime(2020, 1, 1, tzinfo=UTC)),
        (None, datetime(2020, 1, 1, tzinfo=UTC)),
        ({"at": 1}, datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_timestamp_is_aware_utc_or_the_time_of_arrival(text: Any, moment: datetime) -> None:
    body = json.dumps({"event": "x", "timestamp": text})
    context = {"received_at": datetime(2020, 1, 1, tzinfo=UTC)}
    event = ClariBIEvent.model_validate_json(body, context=context)
    assert event.timestamp == moment
    assert event.timestamp.tzinfo is UTC


def failed(data: dict[str, Any]) -> SyncFailed:
    return SyncFailed.model_validate({"event": "data_source.sync_failed", "data": data})


@pytest.mark.parametrize(
    "data",
    [
        {"error": "refused"},
        {"error_message": "refused"},
        {"message": "refused"},
        {"reason": "refused"},
        {"error": {"code": 7, "message": "refused"}},
    ],
)
def test_the_cause_of_a_failed_sync_goes_by_many_names(data: dict[str, Any]) -> None:
    assert failed(data).data.error == "refused"


def test_a_field_of_another_shape_reads_as_none() -> None:
    data = failed(
        {"data_source_id": "main", "data_source_name": ["x"], "duration_seconds": {}}
    ).data
    assert (data.data_source_id, data.data_source_name, data.duration_seconds) == (None, None, None)


def test_likely_names_and_nesting_are_understood() -> None:
    report = ReportGenerated.model_validate({"event": "report.generated", "data": {"id": 15}})
    assert report.data.report_id == 15
    goal = GoalReached.model_validate(
        {"event": "goal.milestone_reached", "data": {"goal": {"id": 3, "name": "Revenue"}}}
    )
    assert (goal.data.goal_id, goal.data.goal_name) == (3, "Revenue")
    low = CreditsLow.model_validate(
        {"event": "billing.credits_low", "data": {"ai_credits": {"remaining": 9, "total": 100}}}
    )
    assert (low.data.remaining, low.data.total) == (9, 100)


def test_an_unknown_type_is_a_generic_event() -> None:
    event = ClariBIEvent.model_validate({"event": "workspace.archived", "data": {"id": 4}})
    assert event.data.get("id") == 4
