"""From an HTTP request to an operation and back: who, what, may they, do it, answer."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pydantic_core
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import Response

from claribi.sandbox.auth import identify
from claribi.sandbox.errors import ApiError, invalid
from claribi.sandbox.incoming import Incoming
from claribi.sandbox.operations import Operation
from claribi.sandbox.world import World

MAX_BODY_BYTES = 1_048_576
_ID = re.compile(r"[0-9]{1,18}")


class Endpoint:
    """All operations of one path."""

    def __init__(self, world: World, operations: Sequence[Operation]) -> None:
        self.world = world
        self.operations: dict[str, Operation] = {one.method: one for one in operations}

    async def answer(self, request: Request, path_id: str) -> Response:
        """The operation's answer. Raises ApiError for every other."""
        operation = self.operations.get(request.method)
        if operation is None:
            raise ApiError(405, headers={"Allow": ", ".join(sorted(self.operations))})
        identity = None
        if operation.role is not None:
            identity = identify(self.world, request.headers)
            if operation.writes and identity.read_only:
                raise ApiError(403, detail="This API key is read-only.")
            if not identity.has_role(operation.role):
                raise ApiError(403, detail=f"This needs the role {operation.role} or above.")
        incoming: Incoming[Any] = Incoming(
            input=await _read_input(operation, request),
            identity=identity,
            id=_path_id(path_id),
            url=_own_url(request),
            params=request.query_params.multi_items(),
        )
        shape = operation.handler(self.world, incoming)
        return json_response(operation.status, shape)


def json_response(status: int, shape: BaseModel | None) -> Response:
    """A shape as JSON, without the fields that were not set."""
    if shape is None:
        return Response(status_code=status)
    content = shape.model_dump_json(exclude_unset=True)
    return Response(content, status_code=status, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """An error in the reference's form."""
    content = json.dumps(error.body())
    return Response(
        content, status_code=error.status, headers=error.headers, media_type="application/json"
    )


async def read_body(request: Request) -> bytes:
    """The whole body. Raises ApiError 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, detail=f"At most {MAX_BODY_BYTES} bytes are read.")
    return bytes(body)


def parse_json(body: bytes) -> JsonValue:
    """The body as JSON values. Raises ApiError 400."""
    try:
        value: JsonValue = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, detail=f"The body is not JSON: {error}") from error
    return value


def parse(model: type[BaseModel], value: Any) -> BaseModel:
    """A body or query as its model. Raises ApiError 400 with a list of texts per field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(_texts_per_field(error)) from error


async def _read_input(operation: Operation, request: Request) -> BaseModel | None:
    if operation.query is not None:
        # As Django does: of a repeated parameter the last one counts.
        return parse(operation.query, dict(request.query_params.multi_items()))
    if operation.body is not None:
        return parse(operation.body, parse_json(await read_body(request)))
    return None


def _texts_per_field(error: ValidationError) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"]) or "non_field_errors"
        texts.setdefault(field, []).append(_text(problem))
    return texts


def _text(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "This field is required."
    return f"{problem['msg'].removeprefix('Value error, ')}."


def _path_id(text: str) -> int:
    if not _ID.fullmatch(text):
        raise ApiError(404, detail="An id is a whole number.")
    return int(text)


def _own_url(request: Request) -> str:
    """The URL without its query, on the origin that the caller used."""
    scope = request.scope
    host = request.headers.get("host") or ":".join(str(part) for part in scope["server"] or ())
    return f"{scope['scheme']}://{host}{scope['path']}"
