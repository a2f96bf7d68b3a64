"""Faults between client and server: a real transport that fails where a script says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    name: str
    error: type[httpx2.TransportError] | None = None
    """Raised by the transport."""
    status: int | None = None
    """Or: answered in place of the server."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_done: bool = False
    """Whether the server carries the request out."""

    def __str__(self) -> str:
        return self.name


REFUSED = Fault("connection refused", error=httpx2.ConnectError)
CONNECT_TIMEOUT = Fault("connect timeout", error=httpx2.ConnectTimeout)
POOL_TIMEOUT = Fault("pool timeout", error=httpx2.PoolTimeout)
LOST_BEFORE = Fault("write error", error=httpx2.WriteError)
LOST_AFTER = Fault("read error", error=httpx2.ReadError, is_done=True)
TIMED_OUT = Fault("read timeout", error=httpx2.ReadTimeout, is_done=True)
DISCONNECTED = Fault("disconnected", error=httpx2.RemoteProtocolError, is_done=True)

NOT_SENT = (REFUSED, CONNECT_TIMEOUT, POOL_TIMEOUT)
LOST = (LOST_BEFORE, LOST_AFTER, TIMED_OUT, DISCONNECTED)


def answered(status: int, *, is_done: bool = False, **headers: str) -> Fault:
    """The server, or something before it, answers with an error status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    shown = " ".join([str(status), *(f"{k}: {v}" for k, v in named.items())])
    return Fault(shown, status=status, headers=named, is_done=is_done)


class _Script:
    def __init__(self, faults: Sequence[Fault | None]) -> None:
        self._faults = list(faults)
        self.sent = 0

    def next(self) -> Fault | None:
        self.sent += 1
        return self._faults.pop(0) if self._faults else None

    @staticmethod
    def outcome(fault: Fault) -> httpx2.Response:
        if fault.error is not None:
            raise fault.error(fault.name)
        assert fault.status is not None
        stream = httpx2.ByteStream(fault.body)  # unread, as a response from the network is
        return httpx2.Response(fault.status, headers=fault.headers, stream=stream)


class FaultyTransport(httpx2.BaseTransport, _Script):
    """Real HTTP, but for the requests that the script spoils; None lets one pass."""

    def __init__(self, faults: Sequence[Fault | None]) -> None:
        _Script.__init__(self, faults)
        self._real = httpx2.HTTPTransport(verify=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self.next()
        if fault is None:
            return self._real.handle_request(request)
        if fault.is_done:
            self._real.handle_request(request).read()
        return self.outcome(fault)

    def close(self) -> None:
        self._real.close()


class AsyncFaultyTransport(httpx2.AsyncBaseTransport, _Script):
    """The same for asyncio."""

    def __init__(self, faults: Sequence[Fault | None]) -> None:
        _Script.__init__(self, faults)
        self._real = httpx2.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self.next()
        if fault is None:
            return await self._real.handle_async_request(request)
        if fault.is_done:
            await (await self._real.handle_async_request(request)).aread()
        return self.outcome(fault)

    async def aclose(self) -> None:
        await self._real.aclose()


def transport_for(face: Any, faults: Sequence[Fault | None]) -> Any:
    return (FaultyTransport if face.name == "sync" else AsyncFaultyTransport)(faults)
