"""One test per row of the table in docs/claribi-api.md, with both clients, over real HTTP."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from claribi_doc import reference_rows
from client_coverage import COVERED
from client_faces import Face
from client_server import Stage
from reference_text import Element, flatten, load

from claribi.answers import BY_CODE
from claribi.errors import ApiStatusError
from claribi.models import WebhookEvent
from claribi.waker import subject_of

REFERENCE = load()
OPERATIONS = {one.name: one for one in REFERENCE.operations}
ROWS = sorted(reference_rows())

SAMPLES: dict[str, Any] = {
    "page": 1,
    "page_size": 2,
    "status": "active",
    "type": "database",
    "workspace": 3,
    "search": "re",
    "ordering": "-created_at",
    "created_after": datetime(2025, 1, 1, tzinfo=UTC),
    "created_before": datetime(2025, 12, 31, 12, tzinfo=UTC),
}


def rows(kind: str, *, where: str | None = None) -> Any:
    chosen = [row for row in ROWS if row.kind == kind and where in {None, row.where}]
    chosen = [row for row in chosen if where or row.where in OPERATIONS]
    return pytest.mark.parametrize("row", chosen, ids=lambda row: f"{row.where} {row.name}")


@rows("call")
def test_call_reaches_its_endpoint(row: Element, face: Face, stage: Stage) -> None:
    run_operation(row.where, face, stage)
    method, _, path = row.where.partition(" ")
    assert stage.seen[-1].method == method
    assert re.fullmatch(path.replace("{id}", r"\d+"), stage.seen[-1].path)
    assert stage.sandbox.calls[-1].status == OPERATIONS[row.where].status or 200


@rows("parameter")
def test_parameter_is_sent(row: Element, face: Face, stage: Stage) -> None:
    sample = "published" if row.where == "GET reports/" and row.name == "status" else None
    sample = sample or SAMPLES[row.name]
    argument = COVERED[row.where].parameters.get(row.name, row.name)
    run_operation(row.where, face, stage, **{argument: sample})
    assert stage.seen[-1].query[row.name] == str(sample)


@rows("parameter", where="lists")
@pytest.mark.parametrize("resource", ["data_sources", "dashboards", "reports"])
def test_every_list_takes_it(row: Element, resource: str, face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    face.run(lambda: getattr(client, resource).list(**{row.name: SAMPLES[row.name]}).page(1))
    sent = stage.seen[-1].query[row.name]
    sample = SAMPLES[row.name]
    is_moment = isinstance(sample, datetime)
    assert sent == (sample.strftime("%Y-%m-%dT%H:%M:%SZ") if is_moment else str(sample))


@rows("value")
def test_value_is_taken(row: Element, face: Face, stage: Stage) -> None:
    name, _, value = row.name.partition("=")
    result = run_operation(row.where, face, stage, **{name: value})
    for item in getattr(result, "results", []) if name != "format" else []:
        assert getattr(item, name) == value
    sent = stage.seen[-1]
    assert (sent.json if sent.body else sent.query)[name] == value


@rows("request")
def test_request_field_is_sent(row: Element, face: Face, stage: Stage) -> None:
    example = OPERATIONS[row.where].request
    run_operation(row.where, face, stage, **(example or {}))
    sent = flatten(stage.seen[-1].json)
    if row.where == "PUT dashboards/{id}/" and row.name == "configuration":
        client = face.client(**stage.key)
        face.run(lambda: client.dashboards.update(1, configuration={"theme": "dark"}))
        assert stage.seen[-1].json == {"configuration": {"theme": "dark"}}
    elif example is None or row.where == "POST auth/token/refresh/":
        assert sent[row.name]
    else:
        assert sent[row.name] == flatten(example)[row.name]


@rows("response")
def test_response_field_is_read(row: Element, face: Face, stage: Stage) -> None:
    if row.name == "mfa_required":
        fields = {"email": "mfa@example.com", "password": "mfa-password"}
    else:
        fields = OPERATIONS[row.where].request or {}
    result = run_operation(row.where, face, stage, **fields)
    assert row.name in flatten(result.to_dict())


@rows("error", where="errors")
def test_error_code_raises_its_class(row: Element, face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, retries=0)
    stage.sandbox.fail_next(1, status=REFERENCE.errors[row.name], error=row.name)
    with pytest.raises(ApiStatusError) as caught:
        face.run(lambda: client.reports.get(1))
    assert type(caught.value) is BY_CODE[row.name]
    assert (caught.value.code, caught.value.status) == (row.name, REFERENCE.errors[row.name])
    assert caught.value.request == ("GET", "reports/1/")
    assert caught.value.message


@rows("event", where="webhooks")
def test_event_is_understood(row: Element) -> None:
    event = WebhookEvent.model_validate(
        {"event": row.name, "data": {"data_source_id": 1, "report_id": 15}}
    )
    assert event.event.is_known
    is_about_a_resource = row.name.startswith(("data_source.", "report."))
    assert (subject_of(event.event, event.data) is not None) == is_about_a_resource


@rows("response", where="webhooks")
def test_webhook_field_is_read(row: Element) -> None:
    event = WebhookEvent.model_validate(REFERENCE.webhook)
    assert flatten(event.to_dict())[row.name] == flatten(REFERENCE.webhook)[row.name]


def run_operation(name: str, face: Face, stage: Stage, /, **fields: Any) -> Any:
    client = face.client(**stage.key)
    if name == "POST auth/token/refresh/":
        fields = {"refresh": face.run(lambda: COVERED["POST auth/login/"].run(client)).refresh}
    result = face.run(lambda: COVERED[name].run(client, **fields))
    is_open = name in {"POST auth/login/", "POST auth/token/refresh/"}
    assert stage.seen[-1].headers.get("x-api-key") == (None if is_open else stage.sandbox.api_key)
    return result
