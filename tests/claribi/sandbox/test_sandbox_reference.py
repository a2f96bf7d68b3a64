"""The vendor's reference, line by line, against the running sandbox."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sandbox_reference
from sandbox_reference import Documented
from sandbox_server import Receiver, Running, running

from claribi.sandbox import EVENT_TYPES
from claribi.sandbox.bodies import ListQuery, Query
from claribi.sandbox.errors import CODES, TOKEN_EXPIRED
from claribi.sandbox.openapi import document
from claribi.sandbox.operations import OPERATIONS

REFERENCE = sandbox_reference.read()
DOCUMENT = document()
LISTS = [one for one in REFERENCE.operations if one.parameters]
OURS = {("POST", "auth/mfa/verify/")}
"""What the reference only hints at."""


def described(operation: Documented) -> Any:
    """The OpenAPI description of an operation."""
    return DOCUMENT["paths"][f"/api/{operation.path}"][operation.method.lower()]


def parameters_of(operation: Documented) -> dict[str, Any]:
    """Its query parameters: name → JSON schema."""
    return {
        one["name"]: one["schema"]
        for one in described(operation)["parameters"]
        if one["in"] == "query"
    }


def form(value: Any) -> Any:
    """The shape of a JSON value: names and kinds, not contents; a list by its first item."""
    match value:
        case dict():
            return {name: form(inner) for name, inner in value.items()}
        case list():
            return [form(value[0])] if value else []
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "text"


def test_the_text_was_read_whole() -> None:
    assert len(REFERENCE.operations) == 20
    assert len(REFERENCE.errors) == 10
    assert len(REFERENCE.events) == 5
    assert len(REFERENCE.common_parameters) == 6
    assert len(LISTS) == 3
    assert sum(one.request is not None for one in REFERENCE.operations) == 6
    assert sum(one.response is not None for one in REFERENCE.operations) == 13


def test_the_sandbox_has_the_references_operations_and_no_others() -> None:
    documented = {(one.method, one.path) for one in REFERENCE.operations}
    assert {(one.method, one.path) for one in OPERATIONS} == documented | OURS


@pytest.mark.parametrize("operation", REFERENCE.operations, ids=lambda one: one.method + one.path)
def test_success_has_the_documented_status(operation: Documented) -> None:
    status = 200 if operation.status is None else operation.status
    successes = [code for code in described(operation)["responses"] if code < "400"]
    assert successes == [str(status)]


@pytest.mark.parametrize("operation", LISTS, ids=lambda one: one.path)
def test_lists_take_the_documented_and_the_common_parameters(operation: Documented) -> None:
    ours = parameters_of(operation)
    assert set(ours) == set(operation.parameters) | set(REFERENCE.common_parameters)
    for name, description in (REFERENCE.common_parameters | operation.parameters).items():
        if description.startswith(("Filter by status: ", "Filter by type: ", "Filter: ")):
            values = description.partition(": ")[2].split(", ")
            assert ours[name]["enum"] == values
    assert (ours["page_size"]["default"], ours["page_size"]["maximum"]) == (20, 100)
    assert (ours["page"]["default"], ours["page"]["minimum"]) == (1, 1)


@pytest.mark.parametrize(
    "operation", [one for one in REFERENCE.operations if one.request], ids=lambda one: one.path
)
def test_every_documented_field_of_a_request_is_read(operation: Documented) -> None:
    key = (operation.method, operation.path)
    (ours,) = [one for one in OPERATIONS if (one.method, one.path) == key]
    assert ours.body is not None
    assert set(operation.request) <= set(ours.body.model_fields)


def test_query_formats_are_the_documented_ones() -> None:
    schema = Query.model_json_schema()["properties"]["format"]
    assert schema["enum"] == REFERENCE.formats


EXAMPLES = [one for one in REFERENCE.operations if one.method == "GET" and one.response]


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda one: one.path)
def test_every_get_answers_with_the_references_own_example(
    served: Running, operation: Documented
) -> None:
    answer = served.api.get(operation.path.replace("{id}", "1")).json()
    expected = operation.response
    if operation.path == "billing/usage/":  # the only thing that follows the clock
        assert form(answer["billing_period"]) == form(expected["billing_period"])
        answer["billing_period"] = expected["billing_period"]
    if "results" in expected:  # the samples are shorter than their counts
        assert len(answer["results"]) == answer["count"]
        answer["results"] = answer["results"][: len(expected["results"])]
    if "widgets" in expected:
        answer["widgets"] = answer["widgets"][: len(expected["widgets"])]
    assert answer == expected
    assert list(answer) == list(expected)


def test_login_and_refresh_answer_in_the_references_form(served: Running) -> None:
    login, refresh = (
        REFERENCE.get("POST", "auth/login/"),
        REFERENCE.get("POST", "auth/token/refresh/"),
    )
    tokens = served.call("POST", login.path, json=login.request)
    assert form(tokens.json()) == form(login.response)
    body = {name: tokens.json()[name] for name in refresh.request}
    fresh = served.call("POST", refresh.path, json=body)
    assert form(fresh.json()) == form(refresh.response)


@pytest.mark.parametrize("path", ["data-sources/", "dashboards/"])
def test_created_objects_are_what_a_get_of_them_shows(served: Running, path: str) -> None:
    operation = REFERENCE.get("POST", path)
    created = served.api.post(path, json=operation.request)
    assert created.status_code == 201
    assert served.api.get(f"{path}{created.json()['id']}/").json() == created.json()
    example = REFERENCE.get("GET", f"{path}{{id}}/").response
    assert list(created.json()) == list(example)
    sent = {key: value for key, value in operation.request.items() if key != "configuration"}
    assert sent.items() <= created.json().items()


def test_the_references_report_gets_its_answer(served: Running) -> None:
    operation = REFERENCE.get("POST", "reports/")
    answer = served.api.post(operation.path, json=operation.request)
    assert answer.status_code == 202
    assert answer.json() == operation.response


def test_the_references_sync_gets_its_answer(served: Running) -> None:
    operation = REFERENCE.get("POST", "data-sources/{id}/sync/")
    answer = served.api.post("data-sources/1/sync/")
    assert answer.json() == operation.response


def test_the_references_question_gets_its_answer(served: Running) -> None:
    operation = REFERENCE.get("POST", "analytics/query/")
    answer = served.api.post(operation.path, json=operation.request)
    assert answer.json() == operation.response


def test_a_report_shows_what_the_list_shows_and_its_content(served: Running) -> None:
    summary = REFERENCE.get("GET", "reports/").response["results"][0]
    report = served.api.get("reports/1/").json()
    assert summary.items() <= report.items()
    assert report["content"]


def test_events_are_the_documented_ones() -> None:
    assert set(EVENT_TYPES) == REFERENCE.events


def test_the_references_webhook_is_sent_to_the_letter(receiver: Receiver) -> None:
    example = REFERENCE.webhook_example
    with running(webhook_urls=[receiver.url]) as fresh:
        fresh.fire(example["event"])
    (event,) = receiver.events
    assert event["data"] == example["data"]
    assert (list(event), event["event"]) == (list(example), example["event"])
    moment = datetime.strptime(event["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_error_codes_are_the_documented_ones() -> None:
    ours = {(status, code) for status, (code, _) in CODES.items()} | {(401, TOKEN_EXPIRED)}
    assert REFERENCE.errors <= ours
    assert ours - REFERENCE.errors == {(405, "method_not_allowed"), (413, "payload_too_large")}


def _with_expired_token(served: Running) -> Any:
    access = served.login()["access"]
    served.sandbox.expire_tokens()
    return served.call("GET", "auth/status/", headers={"Authorization": f"Bearer {access}"})


def _with_planned(status: int) -> Callable[[Running], Any]:
    def provoke(served: Running) -> Any:
        served.sandbox.fail_next(status=status)
        return served.api.get("auth/status/")

    return provoke


def _over_the_rate(served: Running) -> Any:
    served.sandbox.set_rate_limit(0)
    return served.api.get("auth/status/")


PROVOKED: dict[tuple[int, str], Callable[[Running], Any]] = {
    (400, "validation_error"): lambda served: served.api.post("dashboards/", json={}),
    (401, "authentication_failed"): lambda served: served.call("GET", "auth/status/"),
    (401, "token_expired"): _with_expired_token,
    (403, "permission_denied"): lambda served: served.call(
        "DELETE", "reports/1/", headers={"X-API-Key": served.sandbox.viewer_key}
    ),
    (404, "not_found"): lambda served: served.api.get("reports/99/"),
    (409, "conflict"): lambda served: served.api.post(
        "dashboards/", json={"name": "revenue OVERVIEW"}
    ),
    (422, "unprocessable"): lambda served: served.api.post("data-sources/8/sync/"),
    (429, "rate_limited"): _over_the_rate,
    (500, "internal_error"): _with_planned(500),
    (503, "service_unavailable"): _with_planned(503),
}


@pytest.mark.parametrize("error", sorted(REFERENCE.errors), ids=lambda error: error[1])
def test_every_documented_error_is_given(served: Running, error: tuple[int, str]) -> None:
    answer = PROVOKED[error](served)
    assert answer.status_code == error[0]
    assert answer.json()["error"] == error[1]
    assert set(answer.json()) <= set(REFERENCE.error_example)
    assert answer.json()["message"]


def test_every_list_can_be_sorted_by_the_references_example() -> None:
    assert "-created_at" in REFERENCE.common_parameters["ordering"]
    assert "created_at" in ListQuery.sort_fields
