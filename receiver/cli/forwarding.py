"""Sends what comes on to another address, one event after the other."""

import json
from contextlib import aclosing
from datetime import datetime
from typing import Any

from receiver.cli.deployment import opened
from receiver.cli.output import print_line, print_warning
from receiver.cli.resend import TOTAL_SECONDS, Resend, Summary, send_stored
from receiver.cli.times import duration, iso
from receiver.cli.watching import watch
from receiver.guard import check_url, guarded_client, typed
from receiver.model import INTERNAL_SOURCE, Event, is_internal
from receiver.settings import Settings
from receiver.sources import build_sources
from receiver.store.base import EventFilter


class Forwarding:
    """One run of the command: `summary` counts what was answered."""

    def __init__(
        self, settings: Settings, how: Resend, count: int | None, *, as_json: bool
    ) -> None:
        self._settings = settings
        self._how = how
        self._count = count
        self._as_json = as_json
        self._last: datetime | None = None
        self._is_down = False
        self.summary = Summary(keeps_all=False)

    async def run(self, which: EventFilter) -> None:
        """Until enough were sent."""
        await check_url("--to", self._how.url, allow_private=self._how.allow_private)
        signs = not self._how.as_received and self._how.scheme is None
        sources = build_sources(self._settings) if signs else {}
        schemes = {name: source.scheme for name, source in sources.items()}
        # What clarihook raised itself is no webhook, so it is meant only if it is named.
        names = (*which.types, *which.sources)
        with_own = any(name.startswith(INTERNAL_SOURCE) for name in names)
        async with (
            opened(self._settings, "reader") as store,
            aclosing(watch(store, which)) as rounds,
            guarded_client(
                typed(allow_private=self._how.allow_private), timeout=TOTAL_SECONDS
            ) as client,
        ):
            client.headers.clear()
            if not self._as_json:
                print_line(f"forwarding to {self._how.url}; Ctrl-C ends it", "dim")
            async for events in rounds:
                for event in events:
                    if is_internal(event.source, event.type) and not with_own:
                        continue
                    self._tell(event, await send_stored(client, event, self._how, schemes))
                    if self.summary.sent == self._count:
                        return

    def _tell(self, event: Event, result: dict[str, Any]) -> None:
        self.summary.add(result)
        self._last = event.received_at
        if self._as_json:
            print(json.dumps({"id": event.id, "type": event.type, **result}), flush=True)
            return
        status = result["status"]
        answer = f"{status}" if status else f"no answer: {result['error']}"
        took = f"  {duration(result['milliseconds'])}" if status else ""
        style = "green" if 200 <= status < 300 else "red"
        print_line(f"{iso(event.received_at)}  {event.id}  {event.type}  {answer}{took}", style)
        if not status and not self._is_down:
            print_warning("later ones are tried all the same; --since sends this one again")
        self._is_down = not status

    def print_end(self) -> None:
        """The sum, and how to go on."""
        if self._as_json or not self.summary.sent:
            return
        print_line(self.summary.line())
        if self._last is not None:
            print_line(f"go on from here: --since {iso(self._last)}")
