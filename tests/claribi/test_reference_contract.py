"""Reference, table, client and sandbox: none may drift from the others."""

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from claribi_doc import gaps, reference_rows, retry_rows
from client_coverage import COVERED, NESTED_BODIES
from pydantic import BaseModel
from reference_text import Element, Operation, filter_values, flatten, load

from claribi import models
from claribi.answers import BY_CODE, BY_STATUS
from claribi.enums import ErrorCode, EventType, OpenEnum, QueryFormat
from claribi.retry import MATRIX, Failure, Kind
from claribi.sandbox.openapi import document

REFERENCE = load()
SANDBOX = document()


def test_every_json_key_of_the_reference_is_parsed() -> None:
    names = {re.split(r"[.\]]", one.name)[-1] for one in REFERENCE.elements()}
    for key in re.findall(r'"(\w+)":', REFERENCE.text):
        assert key in names or key in {"error", "message", "detail"}, key


def test_every_path_of_the_reference_is_parsed() -> None:
    lines = re.findall(r"^(\w+) /api/(\S+)$", REFERENCE.text, re.MULTILINE)
    assert [f"{method} {path}" for method, path in lines] == [o.name for o in REFERENCE.operations]


def test_every_table_cell_of_the_reference_is_parsed() -> None:
    codes = set(re.findall(r"^\| \d{3} \| (\w+) \|$", REFERENCE.text, re.MULTILINE))
    parameters = set(re.findall(r"^(\w+) \|$", REFERENCE.text, re.MULTILINE))
    assert codes == set(REFERENCE.errors)
    parsed = {name for one in REFERENCE.operations for name in one.parameters}
    assert parameters == parsed | set(REFERENCE.list_parameters)


def test_the_table_has_exactly_the_rows_of_the_reference() -> None:
    assert set(reference_rows()) == set(REFERENCE.elements())


def test_the_table_shows_the_call_that_covers_each_operation() -> None:
    rows = reference_rows()
    for name, covered in COVERED.items():
        assert f"`client.{covered.shown}`" in rows[Element(name, "call", name)]


def test_the_client_covers_exactly_the_operations_of_the_reference() -> None:
    assert set(COVERED) == {one.name for one in REFERENCE.operations}


@pytest.mark.parametrize("one", REFERENCE.operations, ids=lambda one: one.name)
def test_every_field_has_a_typed_counterpart(one: Operation) -> None:
    covered = COVERED[one.name]
    for path, example in flatten(one.response).items():
        assert covered.model is not None
        assert_covered(covered.model, path, example)
    for path, example in flatten(one.request).items():
        assert covered.body is not None
        top, _, rest = path.partition(".")
        nested = NESTED_BODIES.get(f"{one.name} {top}")
        body, inner = (nested, rest) if nested and rest else (covered.body, path)
        assert_covered(body, inner, example)
    for name in one.prose_request:
        assert covered.body is not None
        assert name in covered.body.model_fields


@pytest.mark.parametrize("one", REFERENCE.operations, ids=lambda one: one.name)
def test_every_operation_and_field_is_in_the_sandbox(one: Operation) -> None:
    operation = SANDBOX["paths"][f"/api/{one.path}"][one.method.lower()]
    assert set(one.parameters) <= {each["name"] for each in operation.get("parameters", [])}
    if one.status is not None:
        assert str(one.status) in operation["responses"]
    for path in [*flatten(one.request), *one.prose_request]:
        assert_described(operation["requestBody"], path)
    answers = [body for status, body in operation["responses"].items() if status.startswith("2")]
    for path in [*flatten(one.response), *one.prose_response]:
        assert_described({"anyOf": answers}, path)


def test_every_error_code_has_its_class_and_status() -> None:
    assert set(REFERENCE.errors) == set(BY_CODE) == {one.value for one in ErrorCode}
    for code, status in REFERENCE.errors.items():
        assert issubclass(BY_CODE[code], BY_STATUS[status])


def test_every_event_is_known() -> None:
    assert set(REFERENCE.events) == {one.value for one in EventType}
    for path, example in flatten(REFERENCE.webhook).items():
        assert_covered(models.WebhookEvent, path, example)


def test_every_filter_value_is_known() -> None:
    for one in REFERENCE.operations:
        for name, description in one.parameters.items():
            for value in filter_values(description):
                assert enum_of(COVERED[one.name].model, name)(value).is_known
    assert {one.value for one in QueryFormat} == set(REFERENCE.formats)


def test_the_documented_retry_table_is_the_one_that_runs() -> None:
    assert retry_rows() == {
        (failure.value, kind.value): MATRIX[failure][kind].value
        for failure in Failure
        for kind in Kind
    }


def test_every_gap_has_its_assumption() -> None:
    assert gaps() == [f"G{number}" for number in range(1, 48)]


def assert_covered(model: Any, path: str, example: Any) -> None:
    """The path leads through typed fields, or into an object that the reference leaves free."""
    for name in path.replace("[]", ".[]").split("."):
        if name == "[]":
            model = typing.get_args(model)[0]
        elif is_model(model):
            assert name in fields_of(model), f"{model.__name__} has no {name} ({path})"
            model = without_none(fields_of(model)[name])
        else:
            return  # dict[str, Any], or Any
    if isinstance(model, type) and issubclass(model, OpenEnum):
        assert model(example).is_known, f"{model.__name__} doesn't know {example}"


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def without_none(kind: Any) -> Any:
    if typing.get_origin(kind) not in {typing.Union, types.UnionType}:
        return kind
    kinds = [one for one in typing.get_args(kind) if one is not types.NoneType]
    return kinds[0] if len(kinds) == 1 else kind


def enum_of(model: Any, name: str) -> type[OpenEnum]:
    item = typing.get_args(model.model_fields["results"].annotation)[0]
    found = without_none(item.model_fields[name].annotation)
    assert issubclass(found, OpenEnum)
    return found


def assert_described(schema: Any, path: str) -> None:
    """The path leads through described properties, or into an object left open."""
    schemas = [schema]
    for name in path.replace("[]", ".[]").split("."):
        schemas = [plain for each in schemas for plain in plain_schemas(each)]
        if name == "[]":
            schemas = [each["items"] for each in schemas if "items" in each]
            continue
        if any(each.get("type") == "object" and "properties" not in each for each in schemas):
            return
        schemas = [
            each["properties"][name] for each in schemas if name in each.get("properties", {})
        ]
        assert schemas, f"the sandbox has no {path}"


def plain_schemas(schema: Any) -> Iterator[Any]:
    """What a schema stands for: references followed, alternatives spread, content unwrapped."""
    if "$ref" in schema:
        yield from plain_schemas(SANDBOX["components"]["schemas"][schema["$ref"].split("/")[-1]])
    elif "content" in schema:
        yield from plain_schemas(schema["content"]["application/json"]["schema"])
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from plain_schemas(each)
    else:
        yield schema
