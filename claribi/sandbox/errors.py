"""The API's errors, in the reference's form: `{"error": code, "message": text, "detail": …}`."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

CODES: dict[int, tuple[str, str]] = {
    400: ("validation_error", "Request body is invalid"),
    401: ("authentication_failed", "Invalid or missing credentials"),
    403: ("permission_denied", "Your role lacks the required permission"),
    404: ("not_found", "Resource does not exist"),
    405: ("method_not_allowed", "This path does not know this method"),
    409: ("conflict", "Resource already exists"),
    413: ("payload_too_large", "Request body is too large"),
    422: ("unprocessable", "Request is valid but cannot be processed"),
    429: ("rate_limited", "Too many requests"),
    500: ("internal_error", "Server error -- contact support"),
    503: ("service_unavailable", "Temporary outage -- retry later"),
}
"""Code and message per status, worded as in the reference; 405 and 413 aren't in it."""

TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the reference's second code for a 401


class ApiError(Exception):
    """An answer other than success, raised wherever it becomes clear."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        code: str | None = None,
        detail: JsonValue = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        default_code, default_message = CODES.get(status, ("error", "The request failed"))
        self.status = status
        self.code = code or default_code
        self.message = message or default_message
        self.detail = detail
        self.headers = dict(headers or {})
        super().__init__(f"{status} {self.code}: {self.message}")

    def body(self) -> dict[str, JsonValue]:
        """The JSON that is sent; without `detail` where there is none."""
        body: dict[str, JsonValue] = {"error": self.code, "message": self.message}
        if self.detail is not None:
            body["detail"] = self.detail
        return body


def invalid(fields: Mapping[str, Sequence[str]], message: str | None = None) -> ApiError:
    """400: `detail` has a list of texts per field."""
    return ApiError(400, message, detail={name: list(texts) for name, texts in fields.items()})


def unauthenticated(message: str, *, code: str = "authentication_failed") -> ApiError:
    """401, with the header that HTTP asks for."""
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": 'Bearer realm="api"'})


def not_found(kind: str, number: int | str) -> ApiError:
    """404 for one thing."""
    return ApiError(404, detail=f"There is no {kind} {number}.")
