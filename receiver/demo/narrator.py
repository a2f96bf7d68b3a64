"""Tells, step by step, what becomes of each webhook.

It only looks: at the sandbox's log of webhooks and calls, and at the store, which is the truth.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from claribi.sandbox import Delivery as Webhook
from receiver.demo.world import World
from receiver.errors import ClarihookError
from receiver.model import Attempt, Delivery, Event, Outcome, State

LOOK_EVERY_SECONDS = 0.03
EVENT_SECONDS = 20.0
"""An event that is not done with after so long has gone wrong."""


class Say(Protocol):
    """Prints one line, in a rich style on a terminal."""

    def __call__(self, text: str = "", style: str = "") -> None: ...


class Narrator:
    """Follows one event after the other; keeps count of what it saw."""

    def __init__(self, world: World, say: Say) -> None:
        self.world = world
        self.say = say
        self.events = 0
        self.handled = 0
        """Handler deliveries that succeeded."""
        self.sent = 0
        """Target deliveries that succeeded."""
        self._last_webhook = 0

    def forget_calls(self) -> None:
        """Leave out the calls so far: they were the story's own."""
        self.world.sandbox.world.calls.clear()

    async def follow(self, event_type: str) -> None:
        """Tell of the next webhook until everything that came of it has ended.

        Raises ClarihookError if it is of another type, or did not get through.
        """
        async with _limit(f"{event_type} did not get through"):
            webhook = await self._next_webhook()
            self.events += 1
            self.say(f"{self.events:3}  {webhook.event}", "bold")
            event = await self._received(webhook)
        if webhook.event != event_type:
            raise ClarihookError(f"the sandbox sent {webhook.event} in place of {event_type}")
        async with _limit(f"{event_type}: not all of it was done; {event.id} shows what"):
            ended = await self._until_ended(event)
        dead = [delivery for delivery in ended if delivery.state is not State.SUCCEEDED]
        if dead:
            first = dead[0]
            raise ClarihookError(f"{event_type}: {first.name} is {first.state}: {first.reason}")

    async def _next_webhook(self) -> Webhook:
        """The next one that was sent, whatever became of it."""
        bell = self.world.sandbox.world.bell
        while True:
            ticket = bell.ticket
            for webhook in self.world.sandbox.deliveries:
                if webhook.id > self._last_webhook and webhook.attempts:
                    self._last_webhook = webhook.id
                    return webhook
            await bell.wait(ticket)

    async def _received(self, webhook: Webhook) -> Event:
        """The event that the receiver made of it."""
        attempt = webhook.attempts[0]
        if attempt.status_code != 202:
            text = attempt.error or f"{attempt.status_code}: {attempt.answer}"
            raise ClarihookError(f"{webhook.event}: the receiver did not accept it ({text})")
        event = await self.world.engine.store.event(json.loads(attempt.answer)["id"])
        if event is None or event.secret_index is None:
            raise ClarihookError(f"{webhook.event}: it was accepted, but not stored and verified")
        took = f"{attempt.duration_ms:.0f} ms"
        self._step("received", f"{len(event.body)} bytes, signature verified, 202 in {took}")
        self._step("stored", event.id)
        return event

    async def _until_ended(self, event: Event) -> Sequence[Delivery]:
        telling = _Telling(self)
        while True:
            deliveries = await self.world.engine.store.deliveries_of(event.id)
            await telling.tell(deliveries)
            if deliveries and all(delivery.state.is_final for delivery in deliveries):
                return deliveries
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    def tell_calls(self) -> None:
        """The calls that reached the sandbox's API since the last look."""
        calls = self.world.sandbox.world.calls
        while calls:
            call = calls.popleft()
            self._step("called", f"{call.method} /api/{call.path} -> {call.status}", "cyan")

    def _step(self, what: str, text: str, style: str = "") -> None:
        self.say(f"     {what:10} {text}", style)

    def tell_end(self, delivery: Delivery, attempt: Attempt) -> None:
        """How an attempt ended."""
        took = f"{attempt.duration_ms:.0f} ms"
        if attempt.outcome is not Outcome.DELIVERED:
            text = f"{delivery.name}, attempt {attempt.number}, {took}: {attempt.error}"
            self._step("failed", text, "yellow")
        elif delivery.kind == "handler":
            self.handled += 1
            self._step("handled", f"{delivery.name}, attempt {attempt.number}, {took}", "green")
        else:
            self.sent += 1
            status = f", answered {attempt.status_code}" if attempt.status_code else ""
            self._step("delivered", f"to {delivery.name} in {took}{status}", "green")

    def tell_message(self, title: str, severity: str) -> None:
        """What a handler has said."""
        self._step("message", f"{title} ({severity})", "bold magenta")


class _Telling:
    """What of one event's deliveries was told already."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._told: set[tuple[int, int]] = set()
        """Attempts: delivery and number."""
        self._messages: set[int] = set()

    async def tell(self, deliveries: Sequence[Delivery]) -> None:
        """Tell what is new: an attempt has committed after the calls that it made."""
        store = self._narrator.world.engine.store
        attempts = {one.id: await store.attempts(one.id) for one in deliveries}
        self._narrator.tell_calls()
        for delivery in deliveries:
            await self._tell_message(delivery)
            for attempt in self._new(attempts[delivery.id]):
                self._narrator.tell_end(delivery, attempt)

    def _new(self, attempts: Sequence[Attempt]) -> Iterator[Attempt]:
        for attempt in attempts:
            key = (attempt.delivery_id, attempt.number)
            if key not in self._told:
                self._told.add(key)
                yield attempt

    async def _tell_message(self, delivery: Delivery) -> None:
        number = delivery.message_id
        if number is None or number in self._messages:
            return
        self._messages.add(number)
        message = await self._narrator.world.engine.store.message(number)
        assert message is not None, "a target's delivery has its message"
        self._narrator.tell_message(message.title, message.severity.value)


@asynccontextmanager
async def _limit(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            yield
    except TimeoutError:
        raise ClarihookError(f"{what} within {EVENT_SECONDS:.0f} seconds") from None
