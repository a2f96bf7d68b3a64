"""`clarihook replay --to URL`: stored webhooks go to another address, byte for byte."""

import asyncio
import ipaddress
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from receiver.cli.deployment import opened
from receiver.cli.output import print_json, print_line
from receiver.cli.times import duration
from receiver.errors import UsageError
from receiver.model import Event
from receiver.replay import Selection
from receiver.settings import Settings
from receiver.sources import Source, build_sources

if TYPE_CHECKING:
    import httpx2

CONNECTIONS = 8
ATTEMPTS = 3
RETRY_SECONDS = 0.5
_PAGE = 100
_MASKED = "(masked)"
_OF_THE_CONNECTION = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive",
     "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Resend:
    """Where to, and how."""

    url: str
    as_received: bool
    """With the signature and headers as they came; else signed anew, now."""
    events_per_second: float | None


def resend(settings: Settings, selection: Selection, how: Resend, *, as_json: bool) -> bool:
    """Send the selected events and print each answer; whether every one was a 2xx."""
    results = asyncio.run(_resend(settings, selection, how, quiet=as_json))
    if not results:
        raise UsageError(f"there is nothing to send: {selection.words()}: no such event")
    if as_json:
        print_json({"url": how.url, "sent": results})
    else:
        _print_summary(results)
    return all(200 <= result["status"] < 300 for result in results)


def check_url(url: str, *, allow_private: bool) -> None:
    """Raises UsageError for what is no HTTP address, or a private one that was not meant.

    A name that anybody can make, in a copied command, must not reach into a private network.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--to {url}: write an http:// or https:// address")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise UsageError(f"--to {url}: no such host ({error})") from None
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not (ip.is_global or ip.is_loopback or allow_private):
            raise UsageError(f"--to {url}: {ip} is a private address; if meant, --allow-private")


async def _resend(
    settings: Settings, selection: Selection, how: Resend, *, quiet: bool
) -> list[dict[str, Any]]:
    import httpx2  # noqa: PLC0415 - slow, and only sending needs it

    sources = build_sources(settings)
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    number = 0
    events = _events(settings, selection)
    turn = asyncio.Lock()

    async def take() -> Event | None:
        nonlocal number
        async with turn:  # a generator has one reader at a time
            event = await anext(events, None)
            if event is not None and how.events_per_second is not None:
                slot = began + number / how.events_per_second
                await asyncio.sleep(max(0.0, slot - time.monotonic()))
            number += 1
            return event

    async def work(client: "httpx2.AsyncClient") -> None:
        while (event := await take()) is not None:
            result = {"id": event.id, **await _send(client, event, how, sources)}
            results.append(result)
            if not quiet:
                shown = result["error"] or f"{result['status']}"
                print_line(f"{event.id}  {shown}  {duration(result['milliseconds'])}")

    async with (
        aclosing(events),
        # trust_env: a proxy variable of the machine must not see signed webhooks.
        httpx2.AsyncClient(timeout=30.0, trust_env=False, follow_redirects=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONNECTIONS):
            group.create_task(work(client))
    return results


async def _events(settings: Settings, selection: Selection) -> AsyncGenerator[Event, None]:
    """The selected events, page by page."""
    left = selection.limit
    position: str | None = None
    async with opened(settings, "reader") as store:
        while left is None or left > 0:
            limit = _PAGE if left is None else min(_PAGE, left)
            page = await store.events(
                selection.filter(position), limit=limit, newest=selection.newest
            )
            for event in page:
                yield event
            if len(page) < limit:
                return
            position = page[-1].id
            left = None if left is None else left - len(page)


async def _send(
    client: "httpx2.AsyncClient", event: Event, how: Resend, sources: Mapping[str, Source]
) -> dict[str, Any]:
    source = sources.get(event.source)
    try:
        headers = _headers(event, how, source)
    except UsageError as error:  # one that can't be sent must not keep the others from it
        return {"status": 0, "milliseconds": 0.0, "error": str(error)}
    return await _post(client, how.url, event.body, headers)


def _headers(event: Event, how: Resend, source: Source | None) -> list[tuple[str, str]]:
    """Raises UsageError if it can't be signed."""
    kept = [
        (name, value)
        for name, value in event.headers
        if name not in _OF_THE_CONNECTION and value != _MASKED
    ]
    if how.as_received:
        return kept
    if source is None:
        raise UsageError(
            f"source {event.source!r} is not in the settings, so this can't be signed; to send it "
            "with the signature that it came with, --as-received"
        )
    message_id = event.message_id or event.id
    signed = source.scheme.sign(event.body, message_id=message_id, now=time.time())
    own = {name.lower() for name, _ in signed}
    return [pair for pair in kept if pair[0] not in own] + signed


async def _post(
    client: "httpx2.AsyncClient", url: str, body: bytes, headers: list[tuple[str, str]]
) -> dict[str, Any]:
    """The answer, after a few tries if nobody answers or the answer is a 5xx or 429."""
    import httpx2  # noqa: PLC0415

    status, error, milliseconds = 0, None, 0.0
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(RETRY_SECONDS * 2**attempt)
        begun = time.perf_counter()
        try:
            answer = await client.post(url, content=body, headers=headers)
        except httpx2.HTTPError as failure:
            status, error = 0, str(failure) or type(failure).__name__
            continue
        milliseconds = (time.perf_counter() - begun) * 1000
        status, error = answer.status_code, None
        if status < 500 and status != 429:
            break
    return {"status": status, "milliseconds": round(milliseconds, 2), "error": error}


def _print_summary(results: list[dict[str, Any]]) -> None:
    statuses = Counter(result["status"] or "no answer" for result in results)
    times = sorted(result["milliseconds"] for result in results)
    counts = ", ".join(f"{count} with {status}" for status, count in statuses.most_common())
    late = times[min(len(times) - 1, len(times) * 99 // 100)]
    middle = duration(times[len(times) // 2])
    print_line(f"{len(results)} sent: {counts}; p50 {middle}, p99 {duration(late)}")
