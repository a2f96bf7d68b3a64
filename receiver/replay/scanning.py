"""Reads a selection's events page by page, however many there are."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from receiver.model import Event
from receiver.replay.selection import Selection
from receiver.store.base import Store

PAGE_EVENTS = 250
_AT_A_STRETCH = 50
"""Conditions decided between two looks at what else waits: about 2 ms."""


class Candidate(NamedTuple):
    """An event that the store selected, and whether it fits `where`."""

    event: Event
    fits: bool


class Where:
    """A condition on events; without a text all fit. It counts what it could not decide."""

    def __init__(self, text: str | None) -> None:
        """Raises ValueError for what is no CEL."""
        from receiver.notify.condition import Condition  # noqa: PLC0415 - slow, seldom needed

        self._condition = None if text is None else Condition(text)
        self.undecided = 0
        self.why_undecided = ""
        """The first one that it could not decide, and why."""

    def __call__(self, event: Event) -> bool:
        if self._condition is None:
            return True
        try:
            refusal = self._condition.refusal(event)
        except ValueError:  # a signed body that was kept although it is no event
            refusal = "could not be decided: its body is no JSON"
        if refusal is not None and refusal != "is false":
            self.undecided += 1
            self.why_undecided = self.why_undecided or f"{event.id}: it {refusal}"
        return refusal is None


class Scanner:
    """Reads one selection. `undecided` tells of events for which `where` could not be decided."""

    def __init__(self, store: Store, selection: Selection) -> None:
        self._store = store
        self._selection = selection
        self._fits = Where(selection.where)

    @property
    def undecided(self) -> int:
        """For so many events `where` could not be decided."""
        return self._fits.undecided

    @property
    def why_undecided(self) -> str:
        """The first of them, and why."""
        return self._fits.why_undecided

    async def page(
        self, position: str | None = None, *, at_most: int = PAGE_EVENTS
    ) -> list[Candidate]:
        """The next events beyond `position`; fewer than asked for are the last."""
        selection = self._selection
        events = await self._store.events(
            selection.filter(position), limit=at_most, newest=selection.newest
        )
        candidates: list[Candidate] = []
        for number, event in enumerate(events, 1):
            candidates.append(Candidate(event, self._fits(event)))
            if selection.where is not None and number % _AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return candidates

    async def events(self) -> AsyncGenerator[Event, None]:
        """All that fit, at most `limit` of them."""
        left = self._selection.limit
        position: str | None = None
        while True:
            at_most = PAGE_EVENTS
            if left is not None and self._selection.where is None:
                at_most = min(at_most, left)
            page = await self.page(position, at_most=at_most)
            for event in (candidate.event for candidate in page if candidate.fits):
                yield event
                if left is not None and (left := left - 1) == 0:
                    return
            if len(page) < at_most:
                return
            position = page[-1].event.id
