"""What all shipped handlers have in common."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events import MODELS
from receiver.registry import Registry
from receiver.testing import run_handler

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "data_source_id", "data_source_name", "error", "report_id", "report_name", "goal_name",
    "current_value", "target_value", "milestone", "remaining", "total",
]  # fmt: skip
UNDOCUMENTED = sorted(set(MODELS) - {"data_source.sync_completed"})


def test_every_event_of_the_reference_has_its_own_file(shipped: Registry) -> None:
    files = Counter(handler.name.partition(".")[0] for handler in shipped.handlers)
    assert files == Counter(event_type.replace(".", "_") for event_type in MODELS)
    for event_type in MODELS:
        assert shipped.matching(event_type)


@pytest.mark.parametrize("event_type", UNDOCUMENTED)
@pytest.mark.parametrize("answer", [None, 401, 403, 404, 500, 503])
def test_a_message_goes_out_whatever_is_wrong_with_the_api(
    shipped: Registry, event_type: str, answer: int | None
) -> None:
    """With no `[claribi]` at all (None), or with an API that refuses or is down."""
    paths = ["data-sources/1/", "data-sources/1/sync/", "reports/1/", "billing/usage/"]
    answers = {f"{method} {path}": answer for method in ("GET", "POST") for path in paths}
    (handler,) = shipped.matching(event_type)
    run = run_handler(
        handler,
        event_type,
        data={"data_source_id": 1, "report_id": 1},
        claribi=None if answer is None else answers,
    )
    assert run.outcome == "succeeded", run.reason
    (message,) = run.messages
    assert message.channel == "ops"
    if event_type != "goal.milestone_reached":
        assert "could not be" in message.body


@given(
    event_type=st.sampled_from(UNDOCUMENTED),
    data=st.dictionaries(st.sampled_from(FIELDS) | st.text(), json_values) | json_values,
)
def test_a_message_goes_out_whatever_the_payload_is(
    shipped: Registry, event_type: str, data: Any
) -> None:
    (handler,) = shipped.matching(event_type)
    run = run_handler(handler, json.dumps({"event": event_type, "data": data}).encode())
    assert run.outcome == "succeeded", run.reason
    assert len(run.messages) == 1
