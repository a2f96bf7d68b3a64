"""A call as a value: what to send, how often it may be sent, and how to read the answer."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from claribi.answers import Reply
from claribi.errors import ConfigurationError, RequestInfo
from claribi.retry import Kind

T = TypeVar("T")

ParamValue = str | int | datetime | None
"""A query parameter; None is left out, a moment must be aware and is sent as UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One operation of the API with its arguments, not yet sent."""

    method: str
    path: str
    """Relative to the base URL."""
    kind: Kind
    read: Callable[[Reply, RequestInfo], T]
    """Makes the result of a successful answer; raises DecodeError."""
    params: Mapping[str, ParamValue] | None = None
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    """Not in `repr`: it may hold a password."""
    is_query: bool = False
    """An AI query: its answer may take `Timeout.query_seconds`."""
    needs_auth: bool = True
    reconcile: Callable[[float], Coroutine[Any, Any, Any]] | None = None
    """Looks up whether the call happened, given the Unix time at which it was first sent."""

    @property
    def info(self) -> RequestInfo:
        """Method and path, for errors, logs and hooks."""
        return RequestInfo(self.method, self.path)


def query_of(params: Mapping[str, ParamValue] | None) -> dict[str, str]:
    """Parameters as the strings that are sent; raises ConfigurationError for a naive moment."""
    sent: dict[str, str] = {}
    for name, value in (params or {}).items():
        if value is None:
            continue
        sent[name] = _format_moment(name, value) if isinstance(value, datetime) else str(value)
    return sent


def _format_moment(name: str, moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"{name} must be an aware datetime, for example datetime(…, tzinfo=UTC)"
        )
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
