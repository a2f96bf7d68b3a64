"""From an event to its deliveries: the plan, and the fast way from ingress to a handler."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from receiver.dispatch.backlog import Backlog
from receiver.dispatch.dispatcher import Dispatcher
from receiver.dispatch.lane import Lane
from receiver.dispatch.policies import HandlerPolicies
from receiver.model import DeliveryId, Event, NewDelivery, NewEvent, from_ms
from receiver.registry import Handler
from receiver.store.base import Claim, Recorded, Rejection, Store
from receiver.store.space import DiskSpace

ReadOrderingKey = Callable[[Any], str | None]


class Plan:
    """What events of one source and type become: the same for all of them but for the keys."""

    __slots__ = ("deliveries", "keys", "lanes")

    def __init__(
        self, performers: Sequence[tuple[NewDelivery, ReadOrderingKey | None, Lane | None]]
    ) -> None:
        self.deliveries = tuple(new for new, _, _ in performers)
        self.keys = tuple(key for _, key, _ in performers)
        self.lanes: tuple[Lane, ...] | None = None
        """The lanes to hand over to; None when the store has to be asked first: it alone knows
        whose turn a key is, and a lane may be of another process."""
        if all(key is None and lane is not None for _, key, lane in performers):
            self.lanes = tuple(lane for _, _, lane in performers if lane is not None)

    def for_event(self, value: Mapping[str, Any]) -> tuple[NewDelivery, ...]:
        """The deliveries of an event with this body."""
        if self.lanes is not None:
            return self.deliveries
        return tuple(
            new if key is None else new._replace(key=key(value))
            for new, key in zip(self.deliveries, self.keys, strict=True)
        )


class Planner:
    """Which deliveries an event becomes: one per matching handler, and one if routes match.

    One more, which has no lane and so waits, stands in for each handler file that is broken.
    """

    def __init__(
        self,
        matching: Callable[[str], Sequence[Handler]],
        *,
        policies: HandlerPolicies,
        has_routes: Callable[[str, str], bool],
        routes_name: str,
        routes_order: Callable[[str, str], ReadOrderingKey | None] = lambda _source, _type: None,
        lane: Callable[[str], Lane | None],
        stand_ins: Sequence[str] = (),
    ) -> None:
        self._matching = matching
        self._policies = policies
        self._has_routes = has_routes
        self._routes_name = routes_name
        self._routes_order = routes_order
        self._lane = lane
        self._stand_ins = stand_ins
        # Bounded, because event types come from outside.
        self.plan = lru_cache(maxsize=1024)(self._plan)

    def _plan(self, source: str, event_type: str) -> Plan:
        performers: list[tuple[NewDelivery, ReadOrderingKey | None, Lane | None]] = []
        default = self._policies.of(source).attempts
        for handler in self._matching(event_type):
            attempts = self._policies.of(source, handler.retry).attempts
            new = NewDelivery("handler", handler.name, attempts, steps_aside=handler.steps_aside)
            key = handler.key_of if handler.key is not None else None
            performers.append((new, key, self._lane(handler.name)))
        if self._has_routes(source, event_type):
            new = NewDelivery("handler", self._routes_name, default)
            order = self._routes_order(source, event_type)
            performers.append((new, order, self._lane(self._routes_name)))
        performers += [
            (NewDelivery("handler", name, default), None, None) for name in self._stand_ins
        ]
        return Plan(performers)


class DispatchIntake:
    """The `Intake` of a server: plans, records, and hands over to the dispatcher."""

    def __init__(
        self,
        store: Store,
        planner: Planner,
        dispatcher: Dispatcher | None,
        backlog: Backlog,
        space: DiskSpace | None = None,
    ) -> None:
        self._store = store
        self.planner = planner
        """Replaced when the settings are."""
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._space = space
        self.listener: Callable[[str, Mapping[str, Any]], None] | None = None
        """Hears the type and body of each event as it comes: a hint, a moment before the commit."""

    def accept(self, event: NewEvent, value: Mapping[str, Any] | None) -> Awaitable[Recorded]:
        """Commit an event with its deliveries; see `receiver.ingress.Intake`."""
        if self._space is not None and self._space.reason is not None:
            raise self._space.refusal()
        if value is None:
            return self._store.record(event, ())
        if self.listener is not None:
            self.listener(event.type, value)
        plan = self.planner.plan(event.source, event.type)
        deliveries = plan.for_event(value)
        dispatcher = self._dispatcher
        if not deliveries:
            return self._store.record(event, ())
        if self._backlog.is_full:
            raise self._backlog.refusal()
        if dispatcher is None:
            return self._store.record(
                event, deliveries, committed=partial(self._count, len(deliveries))
            )
        lanes = plan.lanes
        if lanes is not None and dispatcher.reserve(lanes):
            return self._store.record(
                event, deliveries, claimed=True,
                committed=partial(self._hand_over, dispatcher, event, plan.deliveries, lanes),
            )  # fmt: skip
        return self._store.record(
            event, deliveries, committed=partial(self._announce, dispatcher, len(deliveries))
        )

    async def reject(self, rejection: Rejection) -> None:
        """Keep a refused request."""
        await self._store.reject(rejection)

    def _count(self, deliveries: int, recorded: Recorded | None) -> None:
        if recorded is not None and not recorded.is_duplicate:
            self._backlog.change(deliveries)

    @staticmethod
    def _announce(dispatcher: Dispatcher, count: int, recorded: Recorded | None) -> None:
        if recorded is not None and not recorded.is_duplicate:
            dispatcher.expect(count)

    def _hand_over(
        self,
        dispatcher: Dispatcher,
        event: NewEvent,
        deliveries: Sequence[NewDelivery],
        lanes: Sequence[Lane],
        recorded: Recorded | None,
    ) -> None:
        if recorded is None or recorded.is_duplicate:
            dispatcher.give_up(lanes)
            return
        self._backlog.change(len(lanes))
        stored = Event(
            id=event.id,
            seq=recorded.seq,
            source=event.source,
            type=event.type,
            received_at=from_ms(event.received_ms),
            body=event.body,
            header_text=event.headers,
            message_id=event.message_id,
            secret_index=event.secret_index,
        )
        for lane, new, delivery_id in zip(lanes, deliveries, recorded.delivery_ids, strict=True):
            claim = Claim(
                delivery_id=DeliveryId(delivery_id),
                name=lane.name,
                event=stored,
                attempt=1,
                tries=1,
                max_attempts=new.max_attempts,
                since_ms=event.received_ms,
            )
            dispatcher.start_reserved(lane, claim)
