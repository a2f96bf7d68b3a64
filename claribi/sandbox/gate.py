"""The door of `/api/`: planned faults, the rate limit, the log of calls, the last catch."""

import asyncio
import hashlib
import logging
import math
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from claribi.sandbox import jobs
from claribi.sandbox.endpoint import Endpoint, error_response
from claribi.sandbox.errors import ApiError
from claribi.sandbox.operations import OPERATIONS, Operation
from claribi.sandbox.records import Fault
from claribi.sandbox.world import Call, World

log = logging.getLogger(__name__)

PREFIX = "/api/"
MAX_CALLERS = 10_000


class Gate:
    """The API as an ASGI application; it answers every request that starts with `/api/`."""

    def __init__(self, world: World, operations: Sequence[Operation] = OPERATIONS) -> None:
        self.world = world
        self.limiter = Limiter(world)
        self.endpoints = [
            (_pattern(path), Endpoint(world, [one for one in operations if one.path == path]))
            for path in dict.fromkeys(one.path for one in operations)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["path"].removeprefix(PREFIX)
        jobs.settle(self.world)
        fault = _take_fault(self.world, request.method, path)
        try:
            response = await self._respond(request, path, fault)
        except ClientDisconnect:
            return
        is_dropped = fault is not None and fault.drop
        self._record(request.method, path, 0 if is_dropped else response.status_code)
        await (_drop(send) if is_dropped else response(scope, receive, send))

    async def _respond(self, request: Request, path: str, fault: Fault | None) -> Response:
        """The answer. With `after`, the delay too comes after the work: the caller may be gone."""
        if fault is None:
            return await self._run(request, path)
        response = await self._run(request, path) if fault.after else None
        await asyncio.sleep(fault.delay_seconds)
        if fault.slow:
            return response or await self._run(request, path)
        return _fault_response(fault)

    async def _run(self, request: Request, path: str) -> Response:
        """The API's own answer, whatever happens in it."""
        headers: dict[str, str] = {}
        try:
            headers = self.limiter.count(request)
            response = await self._dispatch(request, path)
        except ApiError as error:
            response = error_response(error)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("sandbox.failed path=%s", path)
            response = error_response(ApiError(500))
        response.headers.update(headers)
        if request.method != "GET":
            self.world.bell.ring()
        return response

    async def _dispatch(self, request: Request, path: str) -> Response:
        for pattern, endpoint in self.endpoints:
            if match := pattern.fullmatch(path):
                return await endpoint.answer(request, match.groupdict().get("id", "0"))
        hint = "" if path.endswith("/") else " Every path ends in a slash."
        raise ApiError(404, detail=f"There is no path {PREFIX}{path}.{hint}")

    def _record(self, method: str, path: str, status: int) -> None:
        moment = self.world.clock.moment()
        self.world.calls.append(Call(method=method, path=path, status=status, at=moment))


class Limiter:
    """Fixed windows of the sandbox's time, one per credential (or address without one)."""

    def __init__(self, world: World) -> None:
        self.world = world

    def count(self, request: Request) -> dict[str, str]:
        """Count one call; the `X-RateLimit-` headers. Raises ApiError 429 with Retry-After."""
        limit, now = self.world.rate_limit, self.world.clock.now()
        if limit is None:
            return {}
        who, windows = _who(request), self.world.rate_windows
        began, calls = windows.get(who, (now, 0))
        if now >= began + limit.window_seconds:
            began, calls = now, 0
        ends = began + limit.window_seconds
        windows.pop(who, None)
        windows[who] = (began, calls + 1)
        if len(windows) > MAX_CALLERS:
            del windows[next(iter(windows))]
        headers = {
            "X-RateLimit-Limit": str(limit.requests),
            "X-RateLimit-Remaining": str(max(0, limit.requests - calls - 1)),
            "X-RateLimit-Reset": str(math.ceil(ends)),
        }
        if calls < limit.requests:
            return headers
        headers["Retry-After"] = str(max(1, math.ceil(ends - now)))
        raise ApiError(429, headers=headers)


def _who(request: Request) -> str:
    credential = request.headers.get("x-api-key") or request.headers.get("authorization")
    if credential is None:
        return request.client.host if request.client else ""
    return hashlib.sha256(credential.encode()).hexdigest()


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{id\}", "(?P<id>[^/]+)"))


def _take_fault(world: World, method: str, path: str) -> Fault | None:
    """The first planned fault that fits this call, used up by one."""
    for fault in tuple(world.faults):
        if fault.method in {None, method} and fnmatchcase(path, fault.path):
            fault.count -= 1
            if fault.count <= 0:
                world.faults.remove(fault)
            return fault
    return None


def _fault_response(fault: Fault) -> Response:
    headers = {}
    if fault.retry_after_seconds is not None:
        headers["Retry-After"] = str(fault.retry_after_seconds)
    if fault.body is not None:
        return Response(fault.body, fault.status, headers, media_type="text/html")
    return error_response(ApiError(fault.status, code=fault.error, headers=headers))


async def _drop(send: Send) -> None:
    """Promise more than is sent: the server then has to close the connection."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]}
    )
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
