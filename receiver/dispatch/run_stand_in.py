"""Sorts out an event that came while a handler file was broken, once the file is mended."""

from collections.abc import Sequence
from dataclasses import dataclass

from receiver.dispatch.ending import Ending, RetryRules
from receiver.dispatch.policies import HandlerPolicies
from receiver.model import NewDelivery
from receiver.registry import Handler
from receiver.store.base import Claim, Finish, Store


@dataclass(frozen=True, kw_only=True)
class StandInRunner:
    """Gives an event to those of a file's handlers that it is for."""

    handlers: Sequence[Handler]
    """All of the file."""
    policies: HandlerPolicies
    store: Store
    rules: RetryRules

    async def __call__(self, claim: Claim) -> Finish:
        """End the stand-in and make the deliveries that it stood for, in one commit."""
        ending = Ending(claim, self.rules)
        try:
            value = claim.event.json
        except ValueError as error:
            return ending.dead("PayloadError", str(error))
        # A file of that name in another folder may have been whole all the time.
        made = {
            delivery.name
            for delivery in await self.store.deliveries_of(claim.event.id)
            if delivery.replay_id == claim.replay_id
        }
        deliveries = tuple(
            NewDelivery(
                "handler",
                handler.name,
                self.policies.of(claim.event.source, handler.retry).attempts,
                handler.key_of(value),
                steps_aside=handler.steps_aside,
            )
            for handler in self.handlers
            if handler.matches(claim.event.type) and handler.name not in made
        )
        names = ", ".join(each.name for each in deliveries) or "no handler of it is for this event"
        return ending.succeeded(reason=f"the file is mended: {names}", deliveries=deliveries)
