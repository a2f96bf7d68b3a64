"""One POST of a stored webhook to an address, and what was answered: the bytes as they came."""

import time
from asyncio import timeout
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.guard import Refused
from receiver.model import Event

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 64 * 1024
"""More of an answer is not read."""
_MASKED = "(masked)"
_OF_THE_CONNECTION = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive",
     "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip

Headers = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, or why nothing did."""

    status: int = 0
    """0 if nobody answered."""
    milliseconds: float = 0.0
    """Until the answer was there; 0 without one."""
    retry_after: str | None = None
    """The header as it came."""
    body: bytes = b""
    """The start of it, about 64 KiB."""
    error: str | None = None
    """Why nobody answered."""
    error_class: str | None = None
    may_have_arrived: bool = False
    """Without an answer: whether the request may have reached somebody."""
    is_refused: bool = False
    """It went nowhere, as the address is out of bounds (`receiver.guard`)."""


def kept_headers(event: Event) -> Headers:
    """The headers that an event came with, without those of its connection and masked ones."""
    return [
        (name, value)
        for name, value in event.headers
        if name not in _OF_THE_CONNECTION and value != _MASKED
    ]


def without(headers: Headers, names: Collection[str]) -> Headers:
    """The headers that are not of these names, which are in lower case."""
    return [pair for pair in headers if pair[0].lower() not in names]


async def post(
    client: "httpx2.AsyncClient", url: str, body: bytes, headers: Headers, *, within_seconds: float
) -> Answer:
    """Post once. Raises nothing for what the other side does; a redirect is an answer."""
    import httpx2  # noqa: PLC0415 - slow, and only sending needs it

    begun = time.perf_counter()
    # The store keeps headers as Latin-1, so this gives the exact bytes back.
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    try:
        async with (
            timeout(within_seconds),
            client.stream("POST", url, content=body, headers=pairs) as answer,
        ):
            start = await _read_some(answer)
    except (httpx2.HTTPError, TimeoutError) as failure:
        has_no_connection = isinstance(
            failure, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
        )
        return Answer(
            error=str(failure) or type(failure).__name__,
            error_class="DeadlineExceeded"
            if type(failure) is TimeoutError
            else type(failure).__name__,
            may_have_arrived=not has_no_connection,
            is_refused=_is_refused(failure),
        )
    return Answer(
        status=answer.status_code,
        milliseconds=(time.perf_counter() - begun) * 1000,
        retry_after=answer.headers.get("retry-after"),
        body=start,
    )


async def _read_some(answer: "httpx2.Response") -> bytes:
    """Read the answer to its end, so that the connection serves again, but not a huge one."""
    read = bytearray()
    async for chunk in answer.aiter_raw():
        read += chunk
        if len(read) > MAX_ANSWER_BYTES:
            break
    return bytes(read)


def _is_refused(failure: BaseException | None) -> bool:
    """Whether `receiver.guard` is at the root of it: httpx2 wraps what it raised."""
    while failure is not None:
        if isinstance(failure, Refused):
            return True
        failure = failure.__cause__
    return False
