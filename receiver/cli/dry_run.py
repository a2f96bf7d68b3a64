"""What a server would do with an event by the settings: the same parts, and nothing is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import store_of
from receiver.cli.times import iso
from receiver.errors import UsageError
from receiver.model import Event, Message, MessageFormat, NewDelivery, from_ms
from receiver.notify import content
from receiver.notify.routes import Verdict
from receiver.settings import Settings

if TYPE_CHECKING:
    from receiver.wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What one route says of an event, and what becomes of each of its messages."""

    verdict: Verdict
    staged: tuple[tuple[Message, tuple[NewDelivery, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Routes, channels and silences as they are now. Made by `dry_run`."""

    settings: Settings
    wiring: "Wiring"

    def rulings(self, event: Event, now_ms: int) -> tuple[Ruling, ...]:
        """What each route says of the event, and what holds it if that is said at `now_ms`.

        Raises UsageError for an event whose body is no JSON.
        """
        try:
            verdicts = self.wiring.table.explain(event)
        except ValueError as error:  # a signed body that was kept although it is no event
            raise UsageError(f"{event.id} has no values to route by: {error}") from None
        return tuple(
            Ruling(
                verdict=verdict,
                staged=tuple(
                    (message, deliveries)
                    for message, deliveries in self.wiring.outbox.stage(
                        verdict.messages, event, now_ms
                    )
                ),
            )
            for verdict in verdicts
        )

    def shown(self, ruling: Ruling) -> dict[str, Any]:
        """A ruling as JSON has it."""
        verdict = ruling.verdict
        route = verdict.settings
        forward = verdict.forward
        return {
            "number": verdict.number,
            "name": route.name,
            "continue": route.goes_on,
            "match": route.match,
            "source": route.source,
            "when": route.when,
            "takes": verdict.refusal is None,
            "why_not": verdict.refusal,
            "notes": list(verdict.notes),
            "messages": [self._message(message, new) for message, new in ruling.staged],
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
        schema, asked_for = self._service(delivery.name)
        ready = content.prepare(message, schema, asked_for)
        hold = delivery.hold
        return {
            "target": delivery.name,
            "title": ready.title,
            "body": ready.body,
            "format": ready.format,
            "held": None
            if hold is None
            else {
                "kind": hold.kind,
                "reason": hold.reason,
                "until": None if hold.until_ms is None else iso(from_ms(hold.until_ms)),
                "wait_seconds": hold.wait_ms / 1000 if hold.kind == "group" else None,
            },
        }

    def _service(self, target: str) -> tuple[str, MessageFormat | None]:
        channel, _, name = target.partition("/")
        position, _, schema = name.partition("-")
        url = self.settings.channels[channel].urls[int(position) - 1].get_secret_value()
        return schema, content.format_of_url(url)


@asynccontextmanager
async def dry_run(settings: Settings) -> AsyncIterator[DryRun]:
    """The parts, with the silences of the store if there is one. Raises ConfigError, StoreError."""
    # Slow to import: it brings all that runs deliveries.
    from receiver.engine import Engine, load_registry  # noqa: PLC0415

    store = store_of(settings, "reader", must_exist=False)
    engine = Engine(settings, store, load_registry(settings))
    has_store = store.path.exists()
    if has_store:
        await store.open()
    try:
        if has_store:
            await engine.outbox.catch_up()
        yield DryRun(settings=settings, wiring=engine.wiring)
    finally:
        if has_store:
            await store.close()
        await engine.wiring.close()
