"""What a server would do with an event by the settings: the same parts, and nothing is sent."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import store_of
from receiver.cli.times import iso, shown
from receiver.errors import UsageError
from receiver.model import Event, Message, NewDelivery, StagedMessage, from_ms
from receiver.notify import routes
from receiver.notify.routes import Verdict
from receiver.notify.streaks import Streak
from receiver.settings import Settings
from receiver.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from receiver.wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What one route says of an event, and what becomes of each of its messages."""

    verdict: Verdict
    staged: tuple[StagedMessage, ...]


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """What would become of an event."""

    rulings: tuple[Ruling, ...]
    recoveries: tuple[StagedMessage, ...]
    """What would be said of a streak that it ends."""
    streaks: tuple[str, ...]
    """What it would do to the streaks, in words."""

    @property
    def staged(self) -> tuple[StagedMessage, ...]:
        """All messages with their deliveries, in the order in which they are said."""
        return (*(each for ruling in self.rulings for each in ruling.staged), *self.recoveries)


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Routes, channels and silences as they are now. Made by `dry_run`."""

    settings: Settings
    wiring: "Wiring"
    store: SqliteStore | None
    """None if nothing was ever stored."""

    async def foretell(self, event: Event, now_ms: int) -> Foretold:
        """What each route says of the event, and what holds it if that is said at `now_ms`.

        Raises UsageError for an event whose body is no JSON.
        """
        try:
            verdicts = self.wiring.table.explain(event)
        except ValueError as error:  # a signed body that was kept although it is no event
            raise UsageError(f"{event.id} has no values to route by: {error}") from None
        stage = self.wiring.outbox.stage
        streaks = self.wiring.streaks
        kept: dict[str, str | None] = dict.fromkeys(streaks.keys(event))
        if self.store is not None:
            kept = {key: await self.store.value(routes.NAME, key) for key in kept}
        told = streaks.tell(event, [each.number for each in verdicts if each.refusal is None], kept)
        counted = [Streak.parse(text) for text in told.values.values() if text is not None]
        return Foretold(
            rulings=tuple(
                Ruling(verdict=each, staged=stage(each.messages, event, now_ms))
                for each in verdicts
            ),
            recoveries=stage(told.messages, event, now_ms),
            streaks=(
                *told.notes,
                *(
                    f"it would be failure {each.failures} in a row, since "
                    f"{shown(from_ms(each.since_ms))}"
                    for each in counted
                ),
            ),
        )

    def said(self, staged: Sequence[StagedMessage]) -> list[dict[str, Any]]:
        """Messages as JSON has them, with what each target gets."""
        return [self._message(*each) for each in staged]

    def row(self, ruling: Ruling) -> dict[str, Any]:
        """A ruling as JSON has it."""
        verdict = ruling.verdict
        route = verdict.settings
        forward = verdict.forward
        return {
            "number": verdict.number,
            "label": verdict.label,
            "name": route.name,
            "continue": route.goes_on,
            "match": route.match,
            "source": route.source,
            "when": route.when,
            "takes": verdict.refusal is None,
            "why_not": verdict.refusal,
            "notes": list(verdict.notes),
            "messages": self.said(ruling.staged),
            "forward": None
            if forward is None
            else {"target": forward.channel, "what": forward.body},
        }

    def _message(self, message: Message, deliveries: tuple[NewDelivery, ...]) -> dict[str, Any]:
        fallback = self.settings.channels[message.channel].fallback
        return {
            "channel": message.channel,
            "severity": message.severity,
            "title": message.title,
            "body": message.body,
            "targets": [self._target(message, new) for new in deliveries],
            "fallback": fallback,
        }

    def _target(self, message: Message, delivery: NewDelivery) -> dict[str, Any]:
        """The text as the target gets it, before it is fitted to the service's length."""
        ready = self.wiring.notifier.get(delivery.name).prepare(message.noted(delivery.note))
        hold = delivery.hold
        return {
            "target": delivery.name,
            "title": ready.title,
            "body": ready.body,
            "format": ready.format,
            "note": delivery.note,
            "held": None
            if hold is None
            else {
                "kind": hold.kind,
                "reason": hold.reason,
                "until": None if hold.until_ms is None else iso(from_ms(hold.until_ms)),
                "wait_seconds": hold.wait_ms / 1000 if hold.kind == "group" else None,
            },
        }


@asynccontextmanager
async def dry_run(settings: Settings) -> AsyncIterator[DryRun]:
    """The parts, with the silences of the store if there is one. Raises ConfigError, StoreError."""
    # Slow to import: it brings all that runs deliveries.
    from receiver.engine import Engine, load_registry  # noqa: PLC0415

    store = store_of(settings, "reader", must_exist=False)
    engine = Engine(settings, store, load_registry(settings))
    engine.links.is_dry = True
    has_store = store.path.exists()
    if has_store:
        await store.open()
    try:
        # Or it would show messages to targets that can't be sent to.
        await engine.notifier.warm_up()
        if has_store:
            await engine.outbox.catch_up()
        yield DryRun(settings=settings, wiring=engine.wiring, store=store if has_store else None)
    finally:
        if has_store:
            await store.close()
        await engine.wiring.close()
