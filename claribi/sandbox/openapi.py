"""The OpenAPI 3.1 document, drawn from the table of operations and the models they name."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from claribi.sandbox.errors import CODES
from claribi.sandbox.operations import OPERATIONS, Operation
from claribi.sandbox.shapes import ErrorBody

Json = dict[str, Any]
Schemas = Mapping[tuple[Any, JsonSchemaMode], Json]
"""Model and mode → a reference to its schema."""

_REF = "#/components/schemas/{model}"
_EVERYWHERE = (429, 500, 503)


def document() -> Json:
    """The whole document."""
    schemas, definitions = models_json_schema(_models(), ref_template=_REF)
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        item = paths.setdefault(f"/api/{operation.path}", {})
        item[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clariBI REST API (sandbox)",
            "version": "1.0.0",
            "description": "What clarihook's local stand-in for clariBI answers.",
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT or API key"},
            },
        },
    }


def _models() -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    bodies = {one.body for one in OPERATIONS if one.body is not None}
    answers = {answer for one in OPERATIONS for answer in one.answers} | {ErrorBody}
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    models += [(body, "validation") for body in sorted(bodies, key=lambda model: model.__name__)]
    models += [(one, "validation") for one in sorted(answers, key=lambda model: model.__name__)]
    return models


def _operation(operation: Operation, schemas: Schemas) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": (operation.handler.__doc__ or "").partition("\n")[0],
        "tags": [operation.path.partition("/")[0]],
        "responses": _responses(operation, schemas),
    }
    if operation.role is None:
        described["security"] = []
    parameters = _path_parameters(operation) + _query_parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        schema = schemas[operation.body, "validation"]
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _responses(operation: Operation, schemas: Schemas) -> Json:
    answers = [schemas[model, "validation"] for model in operation.answers]
    success: Json = {"description": "Success"}
    if answers:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        success["content"] = {"application/json": {"schema": schema}}
    responses = {str(operation.status): success}
    for status in sorted({*_common_errors(operation), *operation.errors}):
        code, message = CODES[status]
        responses[str(status)] = {
            "description": f"{code}: {message}",
            "content": {"application/json": {"schema": schemas[ErrorBody, "validation"]}},
        }
    return responses


def _common_errors(operation: Operation) -> set[int]:
    errors = set(_EVERYWHERE)
    if operation.body is not None:
        errors |= {400, 413}
    if operation.query is not None:
        errors |= {400, 404}
    if "{id}" in operation.path:
        errors.add(404)
    if operation.role is not None or operation.path.startswith("auth/"):
        errors.add(401)
    if operation.writes:
        errors.add(403)
    return errors


def _path_parameters(operation: Operation) -> list[Json]:
    if "{id}" not in operation.path:
        return []
    schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
    return [{"name": "id", "in": "path", "required": True, "schema": schema}]


def _query_parameters(operation: Operation) -> list[Json]:
    if operation.query is None:
        return []
    properties = operation.query.model_json_schema()["properties"]
    fields = "|".join(operation.query.sort_fields)
    properties["ordering"]["pattern"] = f"^(-?({fields})(,-?({fields}))*)?$"
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description", ""),
            "schema": _not_null(schema),
        }
        for name, schema in properties.items()
    ]


def _not_null(schema: Json) -> Json:
    """A query parameter is absent, never null."""
    kept = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    kept |= choices[0] if choices else {}
    if schema.get("default") is not None:
        kept["default"] = schema["default"]
    return kept
