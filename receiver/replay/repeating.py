"""What a stored event becomes when it is repeated: handlers' runs, messages, or both."""

from collections.abc import Callable, Mapping, Sequence

from receiver.model import Event, EventId, NewDelivery, State
from receiver.replay.selection import Selection
from receiver.store.base import SaidMessage, Store

PlanEvent = Callable[[Event], Sequence[NewDelivery]]
"""The handlers' deliveries that an event becomes today."""

FindTarget = Callable[[str], NewDelivery | None]
"""A delivery to the target of that name; None if the settings have it no longer."""


def no_target(_name: str) -> NewDelivery | None:
    """For deployments without channels."""
    return None


class Repeater:
    """Makes the new deliveries of events."""

    def __init__(self, store: Store, plan: PlanEvent, target: FindTarget = no_target) -> None:
        self._store = store
        self._plan = plan
        self._target = target

    async def deliveries(
        self, events: Sequence[Event], selection: Selection
    ) -> dict[EventId, list[NewDelivery]]:
        """The new deliveries of those events that have any."""
        ids = [event.id for event in events]
        states: Mapping[str, Mapping[str, State]] = {}
        if selection.states and not selection.messages_only:
            states = await self._store.latest_handler_states(ids)
        said: Mapping[str, Sequence[SaidMessage]] = {}
        if selection.message_states:
            said = await self._store.latest_messages(ids)
        found: dict[EventId, list[NewDelivery]] = {}
        for event in events:
            made = [] if selection.messages_only else self._runs(event, selection, states)
            made += self._messages(said.get(event.id, ()), selection, {new.name for new in made})
            if made:
                found[event.id] = made
        return found

    def _runs(
        self, event: Event, selection: Selection, states: Mapping[str, Mapping[str, State]]
    ) -> list[NewDelivery]:
        return [
            new
            for new in self._plan(event)
            if selection.handler in (None, new.name)
            and (not selection.states or states[event.id].get(new.name) in selection.states)
        ]

    def _messages(
        self, said: Sequence[SaidMessage], selection: Selection, rerun: set[str]
    ) -> list[NewDelivery]:
        """Messages once more, but for those of handlers that run again and speak for themselves."""
        made: list[NewDelivery] = []
        for message in said:
            if (
                message.state not in selection.message_states
                or selection.channel not in (None, message.channel)
                or selection.handler not in (None, message.handler)
                or message.handler in rerun
            ):
                continue
            target = self._target(message.target)
            if target is not None:
                made.append(target._replace(message_id=message.message_id))
        return made
