"""Works out an event's routes, as one delivery among its handlers'."""

from dataclasses import dataclass

import structlog

from receiver.dispatch.ending import Ending, RetryRules
from receiver.dispatch.forwarding import POLICY
from receiver.model import Message, NewDelivery, StagedMessage
from receiver.notify.outbox import Outbox
from receiver.notify.routes import RouteTable
from receiver.store.base import Claim, Finish

log = structlog.get_logger("receiver.routes")


@dataclass(frozen=True, kw_only=True)
class RoutesRunner:
    """Turns an event into the messages of the settings' routes."""

    table: RouteTable
    outbox: Outbox
    rules: RetryRules

    async def __call__(self, claim: Claim) -> Finish:
        """Stage what the routes say. Raises nothing."""
        ending = Ending(claim, self.rules)
        if (expired := ending.expired()) is not None:
            return expired
        try:
            routed = self.table.route(claim.event)
        except ValueError as error:
            # A signed body that was kept although it is no event has no values to route by.
            return ending.dead("PayloadError", str(error))
        if routed.messages:
            await self.outbox.catch_up()
        for failure in routed.failures:
            log.warning("route.said_it_plainly", event_id=claim.event.id, problem=failure)
        return ending.succeeded(
            reason="; ".join(routed.notes)[:2048] or None,
            messages=(
                *self.outbox.stage(routed.messages, claim.event),
                *(_forward(told) for told in routed.forwards),
            ),
        )


def _forward(told: Message) -> StagedMessage:
    delivery = NewDelivery("target", told.channel, POLICY.attempts)
    return StagedMessage(told, (delivery,))
