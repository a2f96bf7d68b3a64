"""`clarihook replay --handler NAME --dry-run --diff`: what today's code would say of old events."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from claribi import AsyncClariBI
from receiver.cli.deployment import opened
from receiver.cli.output import print_json
from receiver.cli.progress import progress_bar
from receiver.cli.time_travel_view import (
    AS_BEFORE,
    Difference,
    Ending,
    difference_record,
    print_difference,
    print_summary,
)
from receiver.dispatch.resources import no_claribi
from receiver.engine import claribi_client
from receiver.errors import UsageError
from receiver.model import Event, Message, State
from receiver.notify import routes
from receiver.registry import Handler
from receiver.replay import Scanner, Selection, count_candidates
from receiver.replay.comparing import comparable, compare, verdict_of
from receiver.settings import Settings
from receiver.store.sqlite import SqliteStore
from receiver.testing import Answers, ApiCall, HandlerRun
from receiver.testing.captured import CapturedNetwork
from receiver.testing.run import run_with
from receiver.wiring import load_templates

_PAGE = 100


@dataclass(frozen=True)
class Today:
    """Today's code, ready to run."""

    takes: Callable[[Event], bool]
    """Whether it is for this event."""
    run: Callable[[Event], Awaitable[tuple[HandlerRun, list[ApiCall]]]]
    """What it did, and the writes that were kept from going out."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where reads come from, and where their answers are kept."""

    answers: Answers | None
    """None reads from the network."""
    save_to: Path | None


def time_travel(
    settings: Settings,
    selection: Selection,
    handler: Handler | None,
    network: Network,
    *,
    as_json: bool,
) -> None:
    """Run the selected events through the handler (None: the routes) and show what differs."""
    if handler is not None and not (selection.types or selection.ids):
        selection = replace(selection, types=handler.patterns)
    differences: list[dict[str, Any]] = []

    def show(difference: Difference) -> None:
        if as_json:
            differences.append(difference_record(difference))
        else:
            print_difference(difference)

    tally = asyncio.run(_travel(settings, selection, handler, network, show))
    if not tally.events:
        raise UsageError(f"there is nothing to compare: {_why_none(selection, handler, tally)}")
    if as_json:
        print_json({**tally.record(), "selection": selection.words(), "differences": differences})
    else:
        print_summary(tally.record(), selection.handler or "")


def _why_none(selection: Selection, handler: Handler | None, tally: "Tally") -> str:
    if not tally.not_for_it:
        return f"{selection.words()}: no such event"
    number = "1 event is" if tally.not_for_it == 1 else f"{tally.not_for_it} events are"
    if handler is None:
        return f"{number} selected, and no route is for such a type and source"
    return (
        f"{number} selected, of another type than {handler.name} is for: "
        f"{' or '.join(handler.patterns)}"
    )


@dataclass(kw_only=True)
class Tally:
    """How many events came out how."""

    events: int = 0
    not_for_it: int = 0
    """Of types that the handler does not take."""
    verdicts: "Counter[str]" = field(default_factory=Counter)
    would_fail: int = 0
    """That would fail now, and did not then."""
    would_succeed: int = 0
    """That would succeed now, and did not then."""
    writes: "Counter[str]" = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        """Count one."""
        self.events += 1
        self.verdicts[difference.verdict] += 1
        self.would_fail += difference.ending == "would fail"
        self.would_succeed += difference.ending == "would succeed"
        self.writes.update(map(str, difference.writes))

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "events": self.events,
            "not_for_it": self.not_for_it,
            **{name: self.verdicts[name] for name in ("same", "changed", "new", "gone")},
            "would_fail": self.would_fail,
            "would_succeed": self.would_succeed,
            "api_writes": dict(self.writes.most_common(100)),
        }


async def _travel(
    settings: Settings,
    selection: Selection,
    handler: Handler | None,
    network: Network,
    show: Callable[[Difference], None],
) -> Tally:
    tally = Tally()
    name = routes.NAME if handler is None else handler.name
    async with opened(settings, "reader") as store, _today(settings, handler, network) as today:
        total = await count_candidates(store, selection)
        scanner = Scanner(store, selection)
        with progress_bar("comparing") as on_progress:
            async for events in _pages(scanner):
                then = await _said(store, name, events)
                states = await store.latest_handler_states([event.id for event in events])
                for event in events:
                    on_progress(tally.events + tally.not_for_it, total)
                    if not today.takes(event):
                        tally.not_for_it += 1
                        continue
                    run, writes = await today.run(event)
                    difference = _compare(
                        event, then[event.id], states[event.id].get(name), run, writes
                    )
                    tally.add(difference)
                    if difference.is_one:
                        show(difference)
    return tally


async def _pages(scanner: Scanner) -> AsyncIterator[list[Event]]:
    page: list[Event] = []
    async for event in scanner.events():
        page.append(event)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


async def _said(
    store: SqliteStore, handler: str, events: Sequence[Event]
) -> dict[str, list[Message]]:
    """What the handler said last about each event; what a trial only showed was not said."""
    found: dict[str, list[Message]] = {}
    latest = await store.latest_messages([event.id for event in events])
    for event_id, said in latest.items():
        ids = [
            each.message_id
            for each in said
            if each.handler == handler and each.state is not State.CANCELLED
        ]
        messages = [await store.message(message_id) for message_id in dict.fromkeys(ids)]
        found[event_id] = [message for message in messages if message is not None]
    return found


def _compare(
    event: Event,
    then: list[Message],
    state: State | None,
    run: HandlerRun,
    writes: list[ApiCall],
) -> Difference:
    now = [comparable(message) for message in run.messages]
    changes = compare(then, now)
    ends_well, ended_well = run.outcome in ("succeeded", "skipped"), state is State.SUCCEEDED
    ending: Ending = AS_BEFORE
    if state in (State.SUCCEEDED, State.DEAD) and ends_well != ended_well:
        ending = "would succeed" if ends_well else "would fail"
    return Difference(
        event=event,
        verdict=verdict_of(then, now, changes),
        changes=changes,
        ending=ending,
        run=run,
        writes=writes,
    )


@asynccontextmanager
async def _today(
    settings: Settings, handler: Handler | None, network: Network
) -> AsyncIterator[Today]:
    """Today's code; its network is closed, and its answers kept, afterwards."""
    if handler is None:
        table = routes.RouteTable(settings.routes, load_templates(settings))

        async def route(event: Event) -> tuple[HandlerRun, list[ApiCall]]:
            try:
                routed = table.route(event)
            except ValueError as error:  # a body that is no JSON
                return HandlerRun(outcome="rejected", reason=str(error), values={}), []
            run = HandlerRun(
                outcome="succeeded",
                reason="; ".join(routed.notes),
                messages=routed.messages + routed.forwards,
                values={},
            )
            return run, []

        yield Today(lambda event: table.matches(event.source, event.type), route)
        return
    api = CapturedNetwork(settings.claribi.base_url, answers=network.answers)
    web = CapturedNetwork(answers=network.answers)
    resources = _Resources(settings, api, web, has_answers=network.answers is not None)

    async def run(event: Event) -> tuple[HandlerRun, list[ApiCall]]:
        done, staged = await run_with(handler, event, resources)
        resources.keep(staged)
        writes = api.writes + web.writes
        api.writes, web.writes = [], []
        return done, writes

    try:
        yield Today(lambda event: handler.matches(event.type), run)
    finally:
        await resources.close()
        if network.save_to is not None:
            _save(network.save_to, {**api.recorded, **web.recorded})


def _save(path: Path, answers: Mapping[str, Any]) -> None:
    """Keep the answers, for the owner's eyes only: they are what the API says of the account."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(answers, file, indent=2)
    except OSError as error:
        raise UsageError(f"--save-answers {path}: {error.strerror}") from None


class _Resources:
    """What the runs share. `ctx.store` begins empty, and goes on from event to event."""

    def __init__(
        self,
        settings: Settings,
        api: CapturedNetwork,
        web: CapturedNetwork,
        *,
        has_answers: bool,
    ) -> None:
        self.channels: Collection[str] = frozenset(settings.channels)
        self.templates = load_templates(settings)
        self._values: dict[str, str] = {}
        self._http = httpx2.AsyncClient(transport=web, trust_env=False)
        self._claribi: AsyncClariBI | None = None
        if settings.claribi.has_account:
            self._claribi = claribi_client(settings.claribi, transport=api)
        elif has_answers:
            self._claribi = AsyncClariBI(
                base_url=settings.claribi.base_url, api_key="recorded", transport=api
            )

    def keep(self, staged: Mapping[str, str | None]) -> None:
        """Take over what a run would have committed."""
        for key, text in staged.items():
            if text is None:
                self._values.pop(key, None)
            else:
                self._values[key] = text

    def claribi(self) -> AsyncClariBI:
        if self._claribi is None:
            raise no_claribi()
        return self._claribi

    def http(self) -> httpx2.AsyncClient:
        return self._http

    async def kv_get(self, handler_name: str, key: str) -> str | None:  # noqa: ARG002
        return self._values.get(key)

    async def close(self) -> None:
        """Close the clients and their networks."""
        if self._claribi is not None:
            await self._claribi.aclose()
        await self._http.aclose()
