"""What the pages show, and what their buttons do."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.acknowledge_page import keep
from receiver.console.forms import form_of
from receiver.console.gate import Visitor
from receiver.console.looks import Looks
from receiver.forms import words_in
from receiver.model import Acknowledgement, Delivery, Event, EventId, State
from receiver.payload import MAX_TYPE_LENGTH
from receiver.store.base import EventFilter
from receiver.stories import tell

if TYPE_CHECKING:
    from receiver.console.app import Deployment

PAGE_EVENTS: Final = 50
MAX_DEAD: Final = 20
MAX_NEWEST: Final = 10
MAX_WAITING: Final = 200
MAX_STORIES: Final = 100
MAX_BODY_BYTES: Final = 65_536
MAX_COMMENT_CHARS: Final = 500
_EVENT_ID: Final = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An event that goes on to further targets unless somebody takes care of it."""

    event_id: EventId
    event_type: str
    next_at: datetime
    targets: Sequence[str]


class Pages:
    """The pages of those who have signed in."""

    def __init__(self, deployment: "Deployment", looks: Looks) -> None:
        self._deployment = deployment
        self._looks = looks

    async def overview(self, _request: Request, visitor: Visitor) -> Response:
        """What waits for somebody, what died, and how much there is of everything."""
        store = self._deployment.store
        found = await store.deliveries_for_people(limit=MAX_WAITING)
        held = [each for each in found if each.state is State.HELD]
        dead = [each for each in found if each.state is State.DEAD]
        dead.sort(key=lambda each: each.id, reverse=True)
        return self._looks.page(
            "overview",
            visitor,
            has_more=len(held) == MAX_WAITING,
            waiting=_waiting(held),
            dead=dead[:MAX_DEAD],
            dead_by_name=await store.dead(),
            backlog=await store.backlog(),
            held=await store.count_held(),
            events=await store.events(EventFilter(), limit=MAX_NEWEST),
        )

    async def events(self, request: Request, visitor: Visitor) -> Response:
        """The stored events, the newest first, a page at a time."""
        asked = {
            name: value
            for name, value in request.query_params.items()
            if len(value) <= MAX_TYPE_LENGTH  # nothing that is longer fits, and SQLite refuses it
        }
        before = asked.get("before", "")
        which = EventFilter(
            types=[asked["type"]] if asked.get("type") else [],
            sources=[asked["source"]] if asked.get("source") else [],
            before=before if _EVENT_ID.fullmatch(before) else None,
        )
        store = self._deployment.store
        found = await store.events(which, limit=PAGE_EVENTS + 1)
        shown = found[:PAGE_EVENTS]
        return self._looks.page(
            "events",
            visitor,
            events=shown,
            states=await store.states_of_events([event.id for event in shown]),
            type=asked.get("type", ""),
            source=asked.get("source", ""),
            older=shown[-1].id if len(found) > len(shown) else None,
        )

    async def event(self, request: Request, visitor: Visitor) -> Response:
        """An event, with all that happened to it."""
        event = await self._find(request)
        if event is None:
            return self._no_event(visitor)
        store = self._deployment.store
        deliveries = await store.deliveries_of(event.id)
        source = self._deployment.settings.sources.get(event.source)
        return self._looks.page(
            "event",
            visitor,
            event=event,
            scheme=None if source is None else source.scheme,
            acknowledged=await store.acknowledgement(event.id),
            escalates=any(
                each.state is State.HELD and each.hold_kind == "escalation" for each in deliveries
            ),
            stories=await tell(store, deliveries[-MAX_STORIES:]),
            left_out=max(0, len(deliveries) - MAX_STORIES),
            body=_body(event),
        )

    async def acknowledge(self, request: Request, visitor: Visitor) -> Response:
        """Somebody takes care of the event: it escalates no further. Back to its page."""
        assert visitor.token is not None, "strangers don't get here"
        event = await self._find(request)
        if event is None:
            return self._no_event(visitor)
        comment = words_in(await form_of(request), "comment", max_chars=MAX_COMMENT_CHARS)
        new = Acknowledgement(
            event_id=event.id,
            at=datetime.now(UTC),
            author=visitor.token.name,
            how="console",
            comment=comment or None,
        )
        if await keep(self._deployment.store, new) is None:
            return self._no_event(visitor)
        return RedirectResponse(f"/events/{event.id}", HTTPStatus.SEE_OTHER)

    async def _find(self, request: Request) -> Event | None:
        event_id = request.path_params["id"]
        is_one = _EVENT_ID.fullmatch(event_id) is not None
        return await self._deployment.store.event(event_id) if is_one else None

    def _no_event(self, visitor: Visitor) -> Response:
        return self._looks.said(
            HTTPStatus.NOT_FOUND,
            "There is no such event",
            "It may have been older than store.keep, or its id was cut off.",
            visitor,
        )


def _waiting(held: Sequence[Delivery]) -> list[Waiting]:
    """The escalations by event, the most urgent first."""
    by_event: dict[EventId, list[Delivery]] = {}
    for each in held:
        by_event.setdefault(each.event_id, []).append(each)
    return [
        Waiting(
            event_id=event_id,
            event_type=deliveries[0].event_type,
            next_at=deliveries[0].due_at,
            targets=list(dict.fromkeys(each.name for each in deliveries)),
        )
        for event_id, deliveries in by_event.items()
    ]


def _body(event: Event) -> str:
    """The body for people: indented if it is JSON, raw if it is long, and cut where nobody reads
    any more. A long one would keep the loop, and webhooks, for a second.
    """
    if len(event.body) > MAX_BODY_BYTES:
        shown = event.body[:MAX_BODY_BYTES].decode("utf-8", "replace")
        return f"{shown}\n… cut: clarihook events show {event.id} --raw has all of it"
    try:
        return json.dumps(event.json, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):  # signed, and kept although it is no JSON
        return event.body.decode("utf-8", "replace")
