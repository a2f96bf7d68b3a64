"""`clarihook replay --to URL`: stored webhooks go to another address, byte for byte."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import opened
from receiver.cli.output import print_json, print_line
from receiver.cli.times import duration
from receiver.errors import UsageError
from receiver.guard import check_url, guarded_client, shown, typed
from receiver.model import Event
from receiver.posting import Answer, Headers, kept_headers, post, without
from receiver.replay import Scanner, Selection
from receiver.settings import Settings
from receiver.signatures import Scheme
from receiver.sources import build_sources

if TYPE_CHECKING:
    import httpx2

CONNECTIONS = 8
ATTEMPTS = 3
RETRY_SECONDS = 0.5
MOST_RETRY_SECONDS = 30.0
TOTAL_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Resend:
    """Where to, and how."""

    url: str
    as_received: bool
    """With the signature and headers as they came; else signed anew, now."""
    scheme: Scheme | None
    """Signs anew; None is each event's own source."""
    allow_private: bool
    events_per_second: float | None
    connections: int = CONNECTIONS
    attempts: int = ATTEMPTS
    """Tries of each, where nobody answers or the answer is a 5xx or 429."""


def resend(settings: Settings, selection: Selection, how: Resend, *, as_json: bool) -> bool:
    """Send the selected events and print each answer; whether every one was a 2xx.

    A Ctrl-C still prints the summary of what was sent.
    """
    summary = Summary(keeps_all=as_json)
    try:
        asyncio.run(_resend(settings, selection, how, summary, quiet=as_json))
        if not summary.sent:
            raise UsageError(f"there is nothing to send: {selection.words()}: no such event")
    finally:
        if as_json and summary.sent:
            print_json({"url": shown(how.url), **summary.record()})
        elif summary.sent:
            print_line(summary.line())
    return summary.failed == 0


@dataclass(kw_only=True)
class Summary:
    """What was answered; each answer only if it is wanted, for there may be a million."""

    keeps_all: bool
    sent: int = 0
    failed: int = 0
    statuses: "Counter[int]" = field(default_factory=Counter)
    """0 is no answer."""
    milliseconds: "array[float]" = field(default_factory=lambda: array("d"))
    """Of each answer."""
    results: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: dict[str, Any]) -> None:
        """Count one."""
        self.sent += 1
        self.failed += not 200 <= result["status"] < 300
        self.statuses[result["status"]] += 1
        if result["status"]:
            self.milliseconds.append(result["milliseconds"])
        if self.keeps_all:
            self.results.append(result)

    def latency(self, part: float) -> float | None:
        """So many milliseconds that the part (0 to 1) of all answers took no longer."""
        times = sorted(self.milliseconds)
        return times[min(len(times) - 1, int(len(times) * part))] if times else None

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "sent": self.results,
            "statuses": {str(status): count for status, count in self.statuses.most_common()},
            "p50_ms": self.latency(0.5),
            "p99_ms": self.latency(0.99),
        }

    def line(self) -> str:
        """As people read it."""
        counts = ", ".join(
            f"{count} with {status or 'no answer'}" for status, count in self.statuses.most_common()
        )
        p50, p99 = self.latency(0.5), self.latency(0.99)
        times = "" if p50 is None or p99 is None else f"; p50 {duration(p50)}, p99 {duration(p99)}"
        return f"{self.sent} sent: {counts}{times}"


async def _resend(
    settings: Settings, selection: Selection, how: Resend, summary: Summary, *, quiet: bool
) -> None:
    await check_url("--to", how.url, allow_private=how.allow_private)
    schemes = {name: source.scheme for name, source in build_sources(settings).items()}
    begun = time.monotonic()
    number = 0
    turn = asyncio.Lock()

    async def take() -> Event | None:
        nonlocal number
        async with turn:  # a generator has one reader at a time
            event = await anext(events, None)
            if event is not None and how.events_per_second is not None:
                slot = begun + number / how.events_per_second
                await asyncio.sleep(max(0.0, slot - time.monotonic()))
            number += 1
            return event

    async def work(client: "httpx2.AsyncClient") -> None:
        while (event := await take()) is not None:
            result = {"id": event.id, **await send_stored(client, event, how, schemes)}
            summary.add(result)
            if not quiet:
                shown = result["error"] or f"{result['status']}"
                tries = "" if result["attempts"] < 2 else f"  at attempt {result['attempts']}"
                print_line(f"{event.id}  {shown}  {duration(result['milliseconds'])}{tries}")

    async with (
        opened(settings, "reader") as store,
        aclosing(Scanner(store, selection).events()) as events,
        guarded_client(typed(allow_private=how.allow_private), timeout=TOTAL_SECONDS) as client,
    ):
        client.headers.clear()  # what was stored has all that it came with
        async with asyncio.TaskGroup() as group:
            for _ in range(how.connections):
                group.create_task(work(client))


async def send_stored(
    client: "httpx2.AsyncClient", event: Event, how: Resend, schemes: Mapping[str, Scheme]
) -> dict[str, Any]:
    """Send one: `status` (0 if nobody answered), `milliseconds`, `attempts`, `error`."""
    own = schemes.get(event.source)

    def headers() -> Headers:
        return _headers(event, own, how)

    try:
        headers()
    except UsageError as error:  # one that can't be sent must not keep the others from it
        return {"status": 0, "milliseconds": 0.0, "attempts": 0, "error": str(error)}
    return await _post(client, how, event.body, headers)


def _headers(event: Event, own: Scheme | None, how: Resend) -> Headers:
    """Raises UsageError if it can't be signed."""
    kept = kept_headers(event)
    if how.as_received:
        return kept
    scheme = how.scheme or own
    if scheme is None:
        raise UsageError(
            f"source {event.source!r} is not in the settings, so this can't be signed; sign it "
            "with --scheme and --secret, or send it as it came with --as-received"
        )
    signed = _sign(scheme, event)
    # The old signature goes, also where another scheme has other headers for it.
    old = signed if own is None else signed + _sign(own, event)
    return without(kept, {name.lower() for name, _ in old}) + signed


def _sign(scheme: Scheme, event: Event) -> Headers:
    return scheme.sign(event.body, message_id=event.message_id or event.id, now=time.time())


async def _post(
    client: "httpx2.AsyncClient", how: Resend, body: bytes, headers: Callable[[], Headers]
) -> dict[str, Any]:
    """The answer, after a few tries if nobody answers or the answer is a 5xx or 429.

    Each try is signed by itself: after a long wait the first signature would be stale.
    """
    answer, milliseconds, wait = Answer(), 0.0, 0.0
    attempt = 0
    while attempt < how.attempts:
        await asyncio.sleep(wait)
        attempt += 1
        wait = RETRY_SECONDS * 2**attempt
        answer = await post(client, how.url, body, headers(), within_seconds=TOTAL_SECONDS)
        if not answer.status:
            continue
        milliseconds = answer.milliseconds
        if answer.status < 500 and answer.status != 429:
            break
        asked = answer.retry_after or ""
        if asked.isdecimal():
            wait = min(float(asked), MOST_RETRY_SECONDS)
    return {
        "status": answer.status,
        "milliseconds": round(milliseconds, 2),
        "attempts": attempt,
        "error": answer.error,
    }
