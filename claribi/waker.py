"""Waking a wait by the webhook that tells its end, so that polling is only the net.

A webhook receiver holds one `WebhookWaker`, gives it to its `AsyncClariBI`, and calls `wake` for
each event that it has verified. Anything else that satisfies `Waker` will do.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol


class Subject(NamedTuple):
    """What is waited for: the end of a report, or of a data source's sync."""

    kind: Literal["report", "data_source"]
    id: int

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.id}"


@dataclass(frozen=True, slots=True)
class News:
    """A webhook that was received: `report.generated` and its data, for example."""

    event: str
    data: Mapping[str, Any]


class Watch(Protocol):
    """A wait's ear; open for as long as the wait lasts, so that no news falls between two looks."""

    async def wait(self, seconds: float) -> News | None:
        """The next news, at once if some came since the last look; None after `seconds`."""


class Waker(Protocol):
    """Where a wait hears of webhooks."""

    def watch(self, subject: Subject) -> AbstractContextManager[Watch]:
        """Listen for news of a subject from now on."""


class WebhookWaker:
    """The `Waker` for a process that receives the webhooks itself."""

    def __init__(self) -> None:
        self._watches: dict[Subject, list[_QueueWatch]] = {}

    def wake(self, event: str, data: Mapping[str, Any]) -> int:
        """Tell all who wait for this event's subject; returns how many. From any thread.

        `event` and `data` are the webhook's own. Anything that nobody waits for is ignored.
        """
        subject = subject_of(event, data)
        watches = self._watches.get(subject, ()) if subject is not None else ()
        for watch in tuple(watches):
            watch.tell(News(event, data))
        return len(watches)

    @contextmanager
    def watch(self, subject: Subject) -> Iterator[Watch]:
        """See `Waker`."""
        watch = _QueueWatch(asyncio.get_running_loop())
        self._watches.setdefault(subject, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[subject].remove(watch)
            if not self._watches[subject]:
                del self._watches[subject]


class _QueueWatch:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Only the latest news matter: a wait looks at the resource itself anyway.
        self._news: News | None = None
        self._arrived = asyncio.Event()

    def tell(self, news: News) -> None:
        self._loop.call_soon_threadsafe(self._keep, news)

    def _keep(self, news: News) -> None:
        self._news = news
        self._arrived.set()

    async def wait(self, seconds: float) -> News | None:
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return None
        self._arrived.clear()
        return self._news


def subject_of(event: str, data: Mapping[str, Any]) -> Subject | None:
    """Whom a webhook is about; None if it names no report and no data source.

    Only sync_completed is documented; `report_id`, or `id`, is our assumption for reports.
    """
    if event.startswith("data_source."):
        number = data.get("data_source_id")
        return Subject("data_source", number) if isinstance(number, int) else None
    if event.startswith("report."):
        number = data.get("report_id", data.get("id"))
        return Subject("report", number) if isinstance(number, int) else None
    return None
