"""Every error that the client raises.

    ClariBIError
    ├── ConfigurationError          the client was set up wrongly (also a ValueError)
    ├── ApiStatusError              clariBI answered with an error; one class per error code
    │   ├── BadRequestError             400
    │   │   └── ValidationError         validation_error; `field_errors`
    │   ├── AuthenticationError         401 authentication_failed
    │   │   └── TokenExpiredError       token_expired, and renewing was not possible
    │   ├── InsufficientCreditsError    402, or an error that speaks of AI credits
    │   ├── PermissionDeniedError       403 permission_denied
    │   ├── NotFoundError               404 not_found
    │   ├── ConflictError               409 conflict
    │   ├── UnprocessableError          422 unprocessable
    │   ├── RateLimitError              429 rate_limited; `retry_after`
    │   └── ServerError                 5xx
    │       ├── InternalError               500 internal_error
    │       └── ServiceUnavailableError     503 service_unavailable
    ├── SessionExpiredError         the tokens are dead and there is no password to log in again
    ├── MfaRequiredError            the login needs a TOTP code and there is none
    ├── TransportError              no complete answer came
    │   ├── ConnectError                the request was never sent
    │   └── RequestTimeoutError         the answer took too long
    ├── OutcomeUnknownError         a POST may have happened; `reconcile()` looks it up
    ├── DecodeError                 the answer is not what the reference says
    ├── PaginationError             a list can't be followed safely
    └── TaskError                   a long task did not end well
        ├── TaskFailedError             clariBI says that it failed
        └── WaitTimeoutError            it is not done within the time given

No error holds a request body, a header or a token: a POST of a data source carries a password.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class RequestInfo(NamedTuple):
    """What was asked: enough to find it in a log, never a secret."""

    method: str
    path: str
    """Relative to the base URL, without the query: `data-sources/1/`."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class ClariBIError(Exception):
    """Base of all errors that the client raises; its text is fit to show to a user."""

    request: RequestInfo | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Constructors take keywords, which Exception's own pickling can't repeat.
        state = {k: v for k, v in self.__dict__.items() if not callable(v)}
        return (_restore, (type(self), self.args, state))


def _restore(cls: type[ClariBIError], args: tuple[Any, ...], state: dict[str, Any]) -> ClariBIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(ClariBIError, ValueError):
    """The client can't be used as it was set up, or an argument can't be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an error answer says, whatever shape it came in."""

    status: int
    code: str
    """One of the reference's codes, an unknown one as it came, or "" if there was none."""
    message: str
    """At most 2 KiB, without control characters."""
    detail: Any = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds, from `Retry-After` or `X-RateLimit-Reset`."""


class ApiStatusError(ClariBIError):
    """clariBI answered with an error status that has no class of its own."""

    def __init__(self, problem: Problem, request: RequestInfo) -> None:
        code = f" {problem.code}" if problem.code else ""
        text = f"{request}: {problem.status}{code}: {problem.message or 'no message'}"
        super().__init__(text)
        self.problem = problem
        self.request: RequestInfo = request

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """The `error` of the body, for example `not_found`; "" if there was none."""
        return self.problem.code

    @property
    def message(self) -> str:
        """The body's human-readable text."""
        return self.problem.message

    @property
    def detail(self) -> Any:
        """The body's `detail`: text, an object of field errors, or None."""
        return self.problem.detail

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, where it sends one: quote it to the support."""
        return self.problem.request_id

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again, if it said so."""
        return self.problem.retry_after


class BadRequestError(ApiStatusError):
    """400: the request is wrong."""


class ValidationError(BadRequestError):
    """400 validation_error: the request body is invalid."""

    @property
    def field_errors(self) -> dict[str, list[str]]:
        """Messages by field, where the server's `detail` is an object; otherwise empty."""
        if not isinstance(self.detail, dict):
            return {}
        return {
            str(field): [str(text) for text in (value if isinstance(value, list) else [value])]
            for field, value in self.detail.items()
        }


class AuthenticationError(ApiStatusError):
    """401 authentication_failed: invalid or missing credentials."""


class TokenExpiredError(AuthenticationError):
    """401 token_expired: seen only when the token could not be renewed."""


class InsufficientCreditsError(ApiStatusError):
    """No AI credits are left for this call.

    The reference has no code for it: 402, or any refusal whose code or text says so.
    """


class PermissionDeniedError(ApiStatusError):
    """403 permission_denied: your role lacks the required permission."""


class NotFoundError(ApiStatusError):
    """404 not_found: the resource does not exist."""


class ConflictError(ApiStatusError):
    """409 conflict: the resource already exists, for example a duplicate name."""


class UnprocessableError(ApiStatusError):
    """422 unprocessable: the request is valid but cannot be processed."""


class RateLimitError(ApiStatusError):
    """429 rate_limited: too many requests; see `retry_after`."""


class ServerError(ApiStatusError):
    """5xx: the fault is the server's."""


class InternalError(ServerError):
    """500 internal_error: contact the vendor's support."""


class ServiceUnavailableError(ServerError):
    """503 service_unavailable: a temporary outage, try again later."""


class SessionExpiredError(ClariBIError):
    """The refresh token is dead and there is no password to log in again with."""


class MfaRequiredError(ClariBIError):
    """The login needs a TOTP code. `challenge` is the server's answer (an `MfaChallenge`)."""

    def __init__(self, message: str, *, challenge: Any) -> None:
        super().__init__(message)
        self.challenge = challenge


class TransportError(ClariBIError):
    """No complete answer came, after all retries."""

    def __init__(self, message: str, *, request: RequestInfo | None = None) -> None:
        super().__init__(f"{request}: {message}" if request else message)
        self.request = request


class ConnectError(TransportError):
    """The request was never sent: no connection, no TLS, or no free place in the pool."""


class RequestTimeoutError(TransportError):
    """The answer did not come in time; see `Timeout`."""


class OutcomeUnknownError(TransportError):
    """A POST was sent and may have happened, so it was not sent again.

    It was cut off before its answer, or answered 408, 500, 502 or 504. `__cause__` says which.
    """

    def __init__(
        self,
        message: str,
        *,
        request: RequestInfo,
        status: int | None = None,
        reconcile: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(message, request=request)
        self.status = status
        """The HTTP status of the ambiguous answer; None if no answer came."""
        self._reconcile = reconcile

    def reconcile(self) -> Any:
        """Look up what happened: a `Reconciliation`; with `AsyncClariBI`, await it.

        Reports, dashboards and data sources are looked for by name, a sync by its data source,
        a query by the credits left. Costs one GET, no credits.
        """
        if self._reconcile is None:
            raise ConfigurationError(f"{self.request}: there is no way to look this call up")
        return self._reconcile()


class DecodeError(ClariBIError):
    """The answer's status is fine but its body is not: not JSON, too large, a field missing."""

    def __init__(self, message: str, *, request: RequestInfo, status: int | None = None) -> None:
        super().__init__(f"{request}: {message}")
        self.request = request
        self.status = status


class PaginationError(ClariBIError):
    """A list can't be followed: `next` leaves the origin, repeats itself, or never ends."""


class TaskError(ClariBIError):
    """A long task (a sync, a report) did not end well. `subject` says which."""

    def __init__(self, message: str, *, subject: Any, last: Any = None) -> None:
        super().__init__(message)
        self.subject = subject
        self.last = last
        """The resource as last seen, or the webhook's data; may be None."""


class TaskFailedError(TaskError):
    """clariBI says that the task failed."""


class WaitTimeoutError(TaskError):
    """The task is not done within the time given; it may still end."""
