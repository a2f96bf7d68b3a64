"""A clariBI API that exists only as a table of answers, behind the real client."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from claribi import AsyncClariBI

Answers = Mapping[str, Any]
"""The answer to each request: `{"GET data-sources/1/": {"id": 1, "name": "Production", …}}`.

A value is the body as JSON values, or an error's HTTP status, or both: `(202, {…})`. A request
that is not listed is answered 404 `not_found`.
"""

_BASE_URL = "http://localhost/api/"
_CODES = {
    400: "validation_error",
    401: "authentication_failed",
    403: "permission_denied",
    404: "not_found",
    409: "conflict",
    422: "unprocessable",
    429: "rate_limited",
    500: "internal_error",
    503: "service_unavailable",
}


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """One request to the clariBI API; as text, `POST data-sources/1/sync/`."""

    method: str
    path: str
    """Relative to the base URL, without the query."""
    json: Any = None
    """The request's body."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def client_of(answers: Answers, calls: list[ApiCall]) -> AsyncClariBI:
    """A real client that gets these answers, tries once, and notes each request in `calls`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/api/")
        body = json.loads(request.content) if request.content else None
        call = ApiCall(method=request.method, path=path, json=body)
        calls.append(call)
        return response_of(answers.get(str(call), 404))

    return AsyncClariBI(
        base_url=_BASE_URL,
        api_key="claribi_sk_made_up_for_tests",
        retries=0,
        transport=httpx2.MockTransport(answer),
    )


def response_of(answer: Any) -> httpx2.Response:
    """A value of `Answers` as the response that it stands for."""
    if isinstance(answer, tuple):
        status, body = answer
    elif isinstance(answer, int):
        code = _CODES.get(answer, "error")
        status, body = answer, {"error": code, "message": f"The test answers {answer}."}
    else:
        status, body = 200, answer
    # A stream, not `json=`: the client reads raw chunks, which a ready-made body has none of.
    content = b"" if body is None else json.dumps(body).encode()
    return httpx2.Response(status, stream=httpx2.ByteStream(content))
