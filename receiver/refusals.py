"""What ingress answers instead of "accepted", in clariBI's own form of errors.

The functions make a refusal anew for each request: an exception that is raised twice keeps the
frames of both.
"""

import json
import math

from receiver.errors import StoreError, StoreUnavailable


class Refusal(Exception):
    """An answer other than "accepted", in clariBI's own form of errors."""

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        *,
        detail: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.closes = closes
        """Whether the connection ends with it, since the rest of the body is not wanted."""
        self.headers = (*headers, (b"connection", b"close")) if closes else headers
        body = {"error": error, "message": message}
        if detail is not None:
            body["detail"] = detail
        self.body = json.dumps(body).encode()


def unknown_source() -> Refusal:
    """404: there is no such source."""
    return Refusal(404, "not_found", "No such source.")


def not_post() -> Refusal:
    """405: some other method than POST."""
    return Refusal(
        405, "method_not_allowed", "Webhooks are sent by POST.", headers=((b"allow", b"POST"),)
    )


def unproven() -> Refusal:
    """401, the same for every reason: which one it was would help a forger. The log has it."""
    return Refusal(
        401, "authentication_failed", "The request has no valid signature of this source."
    )


def too_large(max_body_bytes: int) -> Refusal:
    """413: the body, or what it says of its length, is over the limit."""
    return Refusal(
        413,
        "payload_too_large",
        f"The body is larger than {max_body_bytes} bytes.",
        closes=True,
    )


def too_slow(seconds: float) -> Refusal:
    """408: not all of the body came in time."""
    return Refusal(
        408,
        "request_timeout",
        f"The body did not arrive within {seconds:g} seconds.",
        closes=True,
    )


def too_fast(source: str, wait_seconds: float) -> Refusal:
    """429, and when there is room again."""
    return Refusal(
        429,
        "rate_limited",
        f"More requests than source {source} may send.",
        headers=((b"retry-after", b"%d" % math.ceil(wait_seconds)),),
    )


def draining() -> Refusal:
    """503: the server stops."""
    return Refusal(
        503,
        "service_unavailable",
        "The server is stopping; send this again.",
        headers=((b"retry-after", b"5"),),
        closes=True,
    )


def unavailable(error: StoreError) -> Refusal:
    """503, and when to come back. The cause stays in the log: it may name paths."""
    seconds = error.retry_after_seconds if isinstance(error, StoreUnavailable) else 5
    return Refusal(
        503,
        "service_unavailable",
        "The event was not stored; send it again later.",
        headers=((b"retry-after", b"%d" % seconds),),
    )


def our_fault() -> Refusal:
    """500: a bug; the log has it."""
    return Refusal(500, "internal_error", "The server made an error; its log has the details.")
