"""What happened to a delivery, and why it waits: read from the store, for people to see."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from receiver.model import WAITING_STATES, Attempt, Delivery, Message, from_ms
from receiver.store.base import OpenCircuit, Store


@dataclass(frozen=True, kw_only=True)
class Story:
    """A delivery with all that happened to it."""

    delivery: Delivery
    attempts: Sequence[Attempt]
    message: Message | None
    """As its target gets it, in the format that the store lists."""


async def tell(store: Store, deliveries: Sequence[Delivery]) -> list[Story]:
    """Read what happened to them."""
    return [await _tell(store, delivery) for delivery in await with_reasons(store, deliveries)]


async def _tell(store: Store, delivery: Delivery) -> Story:
    message = None
    if delivery.message_id is not None:
        message = await store.message(delivery.message_id)
    return Story(
        delivery=delivery,
        attempts=await store.attempts(delivery.id),
        message=None if message is None else message.noted(delivery.note),
    )


async def with_reasons(store: Store, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries; that a target's circuit is open is the reason of each that waits for it."""
    if not any(each.state in WAITING_STATES and each.kind == "target" for each in deliveries):
        return list(deliveries)
    circuits = {each.name: each for each in await store.open_circuits()}
    now_ms = int(time.time() * 1000)
    return [
        replace(each, reason=_reason(circuits[each.name], now_ms))
        if each.state in WAITING_STATES and each.name in circuits
        else each
        for each in deliveries
    ]


def _reason(circuit: OpenCircuit, now_ms: int) -> str:
    assert circuit.open_until_ms is not None, "the others are closed"
    until = f"{from_ms(circuit.open_until_ms):%Y-%m-%dT%H:%M:%SZ}"
    how = f"open until {until}" if now_ms < circuit.open_until_ms else "half-open: one is tried"
    return f"waits: the circuit of {circuit.name} is {how}: {circuit.reason}"
