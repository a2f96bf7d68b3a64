"""Any path of the API, for what the reference doesn't document."""

from collections.abc import Mapping
from typing import Any

from claribi.answers import Reply
from claribi.blocking import Blocking, blocking
from claribi.call import Call, ParamValue
from claribi.errors import ConfigurationError, RequestInfo
from claribi.reconcile import Reconciliation
from claribi.resources.base import Resource
from claribi.retry import Kind
from claribi.urls import relative_path

_SAFE_METHODS = frozenset({"GET", "PUT", "DELETE"})
_METHODS = _SAFE_METHODS | {"POST", "PATCH"}


class Raw(Resource):
    """Requests with the client's credentials, retries and errors, but without models."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, ParamValue] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The answer (`status`, `headers`, `text`, `json()`); an error status raises.

        `path` is relative to the base URL: `reports/1/`, or `/api/reports/1/` as the reference
        writes it. POST and PATCH are never sent twice if they may have happened.
        """
        method = method.upper()
        if method not in _METHODS:
            raise ConfigurationError(f"method {method!r}: one of {', '.join(sorted(_METHODS))}")
        call = Call(
            method=method,
            path=relative_path(path),
            kind=Kind.SAFE if method in _SAFE_METHODS else Kind.PAID,
            params=params,
            json=json,
            read=_as_it_came,
            reconcile=_no_way,
        )
        return await self._run(call)


def _as_it_came(reply: Reply, _request: RequestInfo) -> Reply:
    return reply


async def _no_way(_started_at: float) -> Reconciliation:
    return Reconciliation(found=(), note="an undocumented call can't be looked up")


class BlockingRaw(Blocking[Raw]):
    """Requests with the client's credentials, retries and errors, but without models."""

    request = blocking(Raw.request)
