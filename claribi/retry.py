"""When to send a request again: a table, and pure functions around it.

The rule behind the table: a POST that may have happened is never sent again, since a report and a
query cost AI credits and a source or a dashboard would exist twice. stamina and tenacity retry by
exception and know no such difference; a table that a test can walk cell by cell does.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, StrEnum

BASE_SECONDS = 0.5
CAP_SECONDS = 8.0
LONGEST_WAIT_SECONDS = 60.0
"""A server that asks for a longer wait gets none: the error is raised, with `retry_after`."""


class Kind(StrEnum):
    """What repeating a call would cost."""

    SAFE = "safe"
    """GET, PUT and DELETE: repeating changes nothing more."""
    REFRESH = "refresh"
    """POST auth/token/refresh/: free."""
    LOGIN = "login"
    """POST auth/login/: free, but repeated failures may lock the account."""
    CREATE = "create"
    """A POST that creates or starts something: repeated, it is there twice."""
    PAID = "paid"
    """A POST that costs AI credits: repeated, it is paid twice."""


class Failure(StrEnum):
    """How one attempt failed."""

    NOT_SENT = "not_sent"
    """No connection, no TLS, no place in the pool: the server saw nothing."""
    LOST = "lost"
    """Sent, at least in part, and no complete answer: the outcome is unknown."""
    GATEWAY = "gateway"
    """408, 502, 504: something before or beside the API answered."""
    RATE_LIMITED = "rate_limited"
    """429: refused before any work."""
    UNAVAILABLE = "unavailable"
    """503."""
    UNAVAILABLE_UNTIL = "unavailable_until"
    """503 with a Retry-After: the API itself refused, before any work."""
    INTERNAL = "internal"
    """500."""
    REFUSED = "refused"
    """Any other error status: the same request would fail again."""


class Verdict(Enum):
    """What to do about a failure."""

    RETRY = "retry"
    RETRY_ONCE = "retry once"
    FAIL = "raise"
    """Raise the failure as it is."""
    OUTCOME_UNKNOWN = "outcome unknown"
    """Raise OutcomeUnknownError: it may have happened."""


_RETRY, _ONCE, _FAIL, _UNKNOWN = Verdict

MATRIX: Mapping[Failure, Mapping[Kind, Verdict]] = {
    failure: dict(zip(Kind, verdicts, strict=True))
    for failure, verdicts in {
        #                            SAFE    REFRESH LOGIN   CREATE    PAID
        Failure.NOT_SENT:          (_RETRY, _RETRY, _RETRY, _RETRY,   _RETRY),
        Failure.LOST:              (_RETRY, _RETRY, _ONCE,  _UNKNOWN, _UNKNOWN),
        Failure.GATEWAY:           (_RETRY, _RETRY, _RETRY, _UNKNOWN, _UNKNOWN),
        Failure.RATE_LIMITED:      (_RETRY, _RETRY, _FAIL,  _RETRY,   _RETRY),
        Failure.UNAVAILABLE:       (_RETRY, _RETRY, _RETRY, _FAIL,    _FAIL),
        Failure.UNAVAILABLE_UNTIL: (_RETRY, _RETRY, _RETRY, _RETRY,   _RETRY),
        Failure.INTERNAL:          (_RETRY, _FAIL,  _FAIL,  _UNKNOWN, _UNKNOWN),
        Failure.REFUSED:           (_FAIL,  _FAIL,  _FAIL,  _FAIL,    _FAIL),
    }.items()
}  # fmt: skip
"""The whole policy. docs/claribi-api.md shows it; tests/claribi/test_retry_matrix.py walks it."""

_BY_STATUS = {
    408: Failure.GATEWAY,
    429: Failure.RATE_LIMITED,
    500: Failure.INTERNAL,
    502: Failure.GATEWAY,
    503: Failure.UNAVAILABLE,
    504: Failure.GATEWAY,
}


def failure_of(status: int, retry_after: float | None) -> Failure:
    """How an error status failed. `retry_after` is None when the server named no wait."""
    failure = _BY_STATUS.get(status, Failure.REFUSED)
    if failure is Failure.UNAVAILABLE and retry_after is not None:
        return Failure.UNAVAILABLE_UNTIL
    return failure


def decide(kind: Kind, failure: Failure, *, failed_attempts: int, retries: int) -> Verdict:
    """RETRY, FAIL or OUTCOME_UNKNOWN, after `failed_attempts` (at least 1) of a call."""
    verdict = MATRIX[failure][kind]
    allowed = min(retries, 1) if verdict is Verdict.RETRY_ONCE else retries
    if verdict in {Verdict.RETRY, Verdict.RETRY_ONCE}:
        return Verdict.RETRY if failed_attempts <= allowed else Verdict.FAIL
    return verdict


def wait_before_retry(failed_attempts: int, retry_after: float | None, jitter: float) -> float:
    """Seconds to wait: what the server asked for, otherwise full jitter over a doubling bound.

    `jitter` is uniform in [0, 1). The bounds are 0.5 s, 1 s, 2 s, 4 s, 8 s, 8 s, …
    """
    if retry_after is not None:
        return retry_after
    return jitter * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(failed_attempts - 1, 16))


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait, from `Retry-After` (both forms) or, failing that,
    from `X-RateLimit-Reset` (Unix seconds). Never negative; None if it asks for nothing readable.

    `now` is Unix time; the server's own `Date`, where sent, is used instead, so that a wrong clock
    here does no harm.
    """
    server_now = http_date(headers.get("date", ""))
    now = now if server_now is None else server_now
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    moment = http_date(text)
    if moment is None:
        reset = headers.get("x-ratelimit-reset", "").strip()
        moment = float(reset[:12]) if reset.isascii() and reset.isdigit() else None
    return None if moment is None else max(0.0, moment - now)


def http_date(text: str) -> float | None:
    """Unix seconds of a moment in HTTP's form; None if it is none."""
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
