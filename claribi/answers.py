"""Reading an answer: its error, in each of the shapes that clariBI and its proxies send."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core

from claribi.errors import (
    ApiStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InsufficientCreditsError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    Problem,
    RateLimitError,
    RequestInfo,
    ServerError,
    ServiceUnavailableError,
    TokenExpiredError,
    UnprocessableError,
    ValidationError,
)
from claribi.retry import retry_after_of
from claribi.secrets import redacted

MESSAGE_LIMIT = 2048
JSON_DEPTH_LIMIT = 64

BY_CODE: Mapping[str, type[ApiStatusError]] = {
    "validation_error": ValidationError,
    "authentication_failed": AuthenticationError,
    "token_expired": TokenExpiredError,
    "permission_denied": PermissionDeniedError,
    "not_found": NotFoundError,
    "conflict": ConflictError,
    "unprocessable": UnprocessableError,
    "rate_limited": RateLimitError,
    "internal_error": InternalError,
    "service_unavailable": ServiceUnavailableError,
}
"""The reference's error codes and their classes."""

BY_STATUS: Mapping[int, type[ApiStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableError,
    429: RateLimitError,
    500: InternalError,
    503: ServiceUnavailableError,
}
"""The class for a code that is unknown or missing."""

# Where a vendor or a proxy commonly puts the id of a request.
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-trace-id")


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete answer: header names in lower case, body decoded and within the cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON values; None if it is empty. Raises ValueError."""
        return parse_json(self.body) if self.body else None


def parse_json(body: bytes) -> Any:
    """JSON values, at most 64 levels deep. Raises ValueError for everything else."""
    value = pydantic_core.from_json(body)
    # Depth can't exceed the number of openings: most answers need no walk.
    if body.count(b"{") + body.count(b"[") > JSON_DEPTH_LIMIT and _is_deeper(value):
        raise ValueError(f"nested deeper than {JSON_DEPTH_LIMIT} levels")
    return value


def _is_deeper(value: Any) -> bool:
    level = [value]
    for _ in range(JSON_DEPTH_LIMIT):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def json_of(reply: Reply, request: RequestInfo) -> Any:
    """A successful answer's JSON; raises DecodeError."""
    try:
        return reply.json()
    except ValueError as error:
        start = _one_line(reply.text[:200])
        raise DecodeError(
            f"the {reply.status} answer is not JSON ({error}); it begins with {start!r}",
            request=request,
            status=reply.status,
        ) from None


def error_of(reply: Reply, request: RequestInfo, now: float) -> ApiStatusError:
    """The error that an answer with an error status stands for. Total: never raises."""
    problem = problem_of(reply, now)
    return _class_of(problem)(problem, request)


def problem_of(reply: Reply, now: float) -> Problem:
    """What an error answer says, in any of its shapes:

    `{"error": code, "message": …, "detail"?: …}` (the reference), `{"detail": text, "code"?: …}`
    and `{"field": ["…"]}` (Django REST framework's own), or anything else as text.
    """
    code, message, detail = _read_body(reply)
    return Problem(
        status=reply.status,
        code=code,
        message=redacted(_one_line(message))[:MESSAGE_LIMIT],
        detail=detail,
        request_id=next(
            (reply.headers[name] for name in _REQUEST_ID_HEADERS if name in reply.headers), None
        ),
        retry_after=retry_after_of(reply.headers, now),
    )


def _read_body(reply: Reply) -> tuple[str, str, Any]:
    try:
        body = reply.json()
    except ValueError:
        return "", _plain_text(reply), None
    if not isinstance(body, dict):
        return "", _plain_text(reply), None
    if isinstance(body.get("error"), str):
        message = body.get("message")
        return body["error"], message if isinstance(message, str) else "", body.get("detail")
    if isinstance(body.get("detail"), str):
        code = body.get("code")
        return code if isinstance(code, str) else "", body["detail"], None
    if reply.status == 400 and body and all(isinstance(v, list) for v in body.values()):
        fields = ", ".join(str(name) for name in body)
        return "validation_error", f"invalid fields: {fields}", body
    return "", _plain_text(reply), None


def _plain_text(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return "redirects are not followed, for they would carry credentials away; check base_url"
    return reply.text[: MESSAGE_LIMIT * 2]


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _class_of(problem: Problem) -> type[ApiStatusError]:
    if problem.status == 402 or _speaks_of_credits(problem):
        return InsufficientCreditsError
    fallback = ServerError if problem.status >= 500 else ApiStatusError
    return BY_CODE.get(problem.code) or BY_STATUS.get(problem.status, fallback)


def _speaks_of_credits(problem: Problem) -> bool:
    # The reference has no code for "no credits left"; 403 and 422 are the likely carriers.
    if problem.status not in {400, 403, 422}:
        return False
    return "credit" in problem.code or "ai credit" in problem.message.lower()
