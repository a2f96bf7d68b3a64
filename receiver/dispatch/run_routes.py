"""Works out an event's routes, as one delivery among its handlers'."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from receiver.dispatch.ending import Ending, RetryRules
from receiver.dispatch.forwarding import POLICY
from receiver.errors import StoreError
from receiver.model import Message, NewDelivery, StagedMessage
from receiver.notify.outbox import Outbox
from receiver.notify.routes import RouteTable
from receiver.notify.streaks import StreakTable
from receiver.store.base import CancelHeld, Claim, Finish, Store

log = structlog.get_logger("receiver.routes")

LARGE_BYTES = 65_536
"""An event with a larger body is routed in a thread."""


@dataclass(frozen=True, kw_only=True)
class RoutesRunner:
    """Turns an event into the messages of the settings' routes."""

    table: RouteTable
    outbox: Outbox
    rules: RetryRules
    streaks: StreakTable
    store: Store

    async def __call__(self, claim: Claim) -> Finish:
        """Stage what the routes say. Raises nothing."""
        ending = Ending(claim, self.rules)
        if (expired := ending.expired()) is not None:
            return expired
        try:
            if len(claim.event.body) > LARGE_BYTES:
                # Between two conditions the loop has its turn; each by itself is bounded.
                routed = await asyncio.to_thread(self.table.route, claim.event)
            else:
                routed = self.table.route(claim.event)
        except ValueError as error:
            # A signed body that was kept although it is no event has no values to route by.
            return ending.dead("PayloadError", str(error))
        try:
            kept = await self._kept(claim)
        except StoreError as error:
            return ending.failed("StoreError", str(error))
        told = self.streaks.tell(claim.event, routed.spoke, kept)
        messages = (*routed.messages, *told.messages)
        if messages:
            await self.outbox.catch_up()
        for failure in routed.failures:
            log.warning("route.said_it_plainly", event_id=claim.event.id, problem=failure)
        return ending.succeeded(
            reason="; ".join((*routed.notes, *told.notes))[:2048] or None,
            messages=(
                *self.outbox.stage(messages, claim.event),
                *(_forward(forward) for forward in routed.forwards),
            ),
            values=told.values,
            cancels=tuple(
                CancelHeld("escalation", incident, "resolved") for incident in told.recovered
            ),
        )

    async def _kept(self, claim: Claim) -> Mapping[str, str | None] | None:
        """The streaks that the event may change, as they are; None in a replay.

        Raises StoreError.
        """
        if claim.replay_id is not None:
            return None
        # In order: a delivery that may change a streak has the streak's ordering key.
        keys = self.streaks.keys(claim.event)
        return {key: await self.store.value(claim.name, key) for key in keys}


def _forward(told: Message) -> StagedMessage:
    delivery = NewDelivery("target", told.channel, POLICY.attempts)
    return StagedMessage(told, (delivery,))
