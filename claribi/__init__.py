"""The clariBI REST API, typed, synchronous and asynchronous. Usable alone.

    from claribi import AsyncClariBI, ClariBI, NotFoundError

docs/claribi-api.md lists every endpoint, field and error, and what is assumed where the vendor's
reference is silent.
"""

from claribi.auth import Anonymous, ApiKey, StaticBearer
from claribi.client import AsyncClariBI, ClariBI
from claribi.credits import Credits
from claribi.errors import (
    ApiStatusError,
    AuthenticationError,
    BadRequestError,
    ClariBIError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    DecodeError,
    InsufficientCreditsError,
    InternalError,
    MfaRequiredError,
    NotFoundError,
    OutcomeUnknownError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    RequestInfo,
    RequestTimeoutError,
    ServerError,
    ServiceUnavailableError,
    SessionExpiredError,
    TaskError,
    TaskFailedError,
    TokenExpiredError,
    TransportError,
    UnprocessableError,
    ValidationError,
    WaitTimeoutError,
)
from claribi.options import Timeout
from claribi.pages import AsyncPages, Pages
from claribi.reconcile import Reconciliation
from claribi.requests import DatabaseConfiguration, ReportParameters
from claribi.session import Credentials, jwt_password, jwt_tokens
from claribi.waker import News, Subject, Waker, WebhookWaker

__all__ = [
    "Anonymous",
    "ApiKey",
    "ApiStatusError",
    "AsyncClariBI",
    "AsyncPages",
    "AuthenticationError",
    "BadRequestError",
    "ClariBI",
    "ClariBIError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "Credentials",
    "Credits",
    "DatabaseConfiguration",
    "DecodeError",
    "InsufficientCreditsError",
    "InternalError",
    "MfaRequiredError",
    "News",
    "NotFoundError",
    "OutcomeUnknownError",
    "Pages",
    "PaginationError",
    "PermissionDeniedError",
    "RateLimitError",
    "Reconciliation",
    "ReportParameters",
    "RequestInfo",
    "RequestTimeoutError",
    "ServerError",
    "ServiceUnavailableError",
    "SessionExpiredError",
    "StaticBearer",
    "Subject",
    "TaskError",
    "TaskFailedError",
    "Timeout",
    "TokenExpiredError",
    "TransportError",
    "UnprocessableError",
    "ValidationError",
    "WaitTimeoutError",
    "Waker",
    "WebhookWaker",
    "jwt_password",
    "jwt_tokens",
]
