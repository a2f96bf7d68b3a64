"""One request over the network: the only place that knows httpx2.

The logic above is written once, as coroutines that wait only for the `IO` that they are given.
With `AsyncIO` these waits are real; with `BlockingIO` each of them blocks and returns at once,
so that `claribi.blocking.run` can drive the same coroutine without an event loop.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx2

from claribi.answers import Reply
from claribi.blocking import run
from claribi.body import Body
from claribi.errors import ConfigurationError, ConnectError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, complete. Its `repr` has no headers and no body: they hold secrets."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    connect_seconds: float
    read_seconds: float
    total_seconds: float
    max_body_bytes: int


class NotSentError(Exception):
    """The server saw nothing of the request. The text is fit to show."""


class LostError(Exception):
    """The request was sent, at least in part, and no complete answer came."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class IO(Protocol):
    """What the logic waits for."""

    async def send(self, request: HttpRequest) -> Reply:
        """The answer; raises NotSentError, LostError or `claribi.body.BadAnswerError`."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def once(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work`, or wait for the run that is under way and share its outcome."""

    def hand_over(self, work: Coroutine[Any, Any, T]) -> Any:
        """Work as the client's user gets it: to be awaited, or already done."""

    async def close(self) -> None:
        """Close all connections."""


# A pool's idle connection is dropped before a usual server drops it (uvicorn's 5 s): a request
# written to a connection that is just being closed has an unknown outcome.
_KEEPALIVE_SECONDS = 4.0
DEFAULT_MAX_CONNECTIONS = 10
_OUT_OF_TIME = "no complete answer within the call's time"


class AsyncIO:
    """The network by asyncio. `uses_tls` False saves the loading of all root certificates."""

    def __init__(
        self,
        *,
        max_connections: int,
        uses_tls: bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._client = httpx2.AsyncClient(
            limits=_limits(max_connections), transport=transport, verify=uses_tls
        )
        self._sleep = sleep or asyncio.sleep
        self._flight: asyncio.Task[None] | None = None
        self._is_closed = False

    async def send(self, request: HttpRequest) -> Reply:
        """See `IO`. The whole exchange is cut off after `total_seconds`."""
        _refuse_closed(self._client)
        try:
            async with asyncio.timeout(request.total_seconds):
                return await self._exchange(request)
        except TimeoutError:
            failure: NotSentError | LostError = LostError(_OUT_OF_TIME, timed_out=True)
        except httpx2.TransportError as error:
            failure = _failure(error)
        # Raised out here, so that no exception chain leads to httpx2's request and its headers.
        raise failure

    async def _exchange(self, request: HttpRequest) -> Reply:
        response = await self._client.send(_build(self._client, request), stream=True)
        try:
            body = Body(response, request.max_body_bytes)
            async for chunk in response.aiter_raw():
                body.feed(chunk)
            return body.reply()
        finally:
            await response.aclose()

    async def sleep(self, seconds: float) -> None:
        """See `IO`."""
        await self._sleep(seconds)

    async def once(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See `IO`. A caller that is cancelled does not cancel the work that others wait for."""
        if self._flight is None:
            self._flight = asyncio.create_task(work(), name="claribi: renew the session")
            self._flight.add_done_callback(self._land)
        flight = self._flight
        try:
            await asyncio.shield(flight)
        except asyncio.CancelledError:
            if self._is_closed and flight.cancelled():
                raise ConnectError("the client was closed") from None
            raise

    def _land(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # every caller may have been cancelled: nobody else would look

    def hand_over(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """See `IO`."""
        return work

    async def close(self) -> None:
        """See `IO`."""
        self._is_closed = True
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])
        await self._client.aclose()


class BlockingIO:
    """The network by blocking calls, for any number of threads. Its coroutines never suspend."""

    def __init__(
        self,
        *,
        max_connections: int,
        uses_tls: bool = True,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        # httpcore2 is slow to import, and httpx2 itself waits for its first client.
        from claribi.deadline import Deadline, keep_deadline  # noqa: PLC0415

        self._client = httpx2.Client(
            limits=_limits(max_connections), transport=transport, verify=uses_tls
        )
        self._deadline = Deadline()
        keep_deadline(self._client, self._deadline)
        self._sleep = sleep or time.sleep
        self._flight: Future[None] | None = None
        self._lock = threading.Lock()

    async def send(self, request: HttpRequest) -> Reply:
        """See `IO`. No read or write begins or goes on after `total_seconds`."""
        _refuse_closed(self._client)
        try:
            with self._deadline.within(request.total_seconds):
                return self._exchange(request)
        except httpx2.TransportError as error:
            failure = _failure(error)
        raise failure

    def _exchange(self, request: HttpRequest) -> Reply:
        response = self._client.send(_build(self._client, request), stream=True)
        try:
            body = Body(response, request.max_body_bytes)
            for chunk in response.iter_raw():
                body.feed(chunk)
            return body.reply()
        finally:
            response.close()

    async def sleep(self, seconds: float) -> None:
        """See `IO`."""
        self._sleep(seconds)

    async def once(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See `IO`. The first thread works, the others wait for it."""
        with self._lock:
            flight, is_first = self._flight or Future[None](), self._flight is None
            self._flight = flight
        if not is_first:
            flight.result()
            return
        try:
            await work()
        except BaseException as error:
            self._land(flight, error)
            raise
        self._land(flight, None)

    def _land(self, flight: "Future[None]", error: BaseException | None) -> None:
        with self._lock:
            self._flight = None
        if error is None:
            flight.set_result(None)
        else:
            flight.set_exception(error)

    def hand_over(self, work: Coroutine[Any, Any, T]) -> T:
        """See `IO`."""
        return run(work)

    async def close(self) -> None:
        """See `IO`."""
        self._client.close()


def _refuse_closed(client: httpx2.AsyncClient | httpx2.Client) -> None:
    if client.is_closed:
        raise ConfigurationError("the client is closed; make a new one")


def _limits(max_connections: int) -> httpx2.Limits:
    return httpx2.Limits(
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=_KEEPALIVE_SECONDS,
    )


def _build(client: httpx2.AsyncClient | httpx2.Client, request: HttpRequest) -> httpx2.Request:
    limit = min(request.read_seconds, request.total_seconds)
    return client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        timeout=httpx2.Timeout(
            connect=min(request.connect_seconds, request.total_seconds),
            read=limit,
            write=limit,
            # A place in the pool may be long in coming: the call's own deadline is the limit.
            pool=request.total_seconds,
        ),
    )


_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)


def _failure(error: httpx2.TransportError) -> NotSentError | LostError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, _NOT_SENT):
        return NotSentError(text)
    return LostError(text, timed_out=isinstance(error, httpx2.TimeoutException))
