"""Why a delivery waits although it is due: the circuit of its target is open."""

import time
from collections.abc import Sequence
from dataclasses import replace

from receiver.cli.times import shown
from receiver.model import WAITING_STATES, Delivery, from_ms
from receiver.store.base import OpenCircuit
from receiver.store.sqlite import SqliteStore


async def with_reasons(store: SqliteStore, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries; for each that waits for a circuit, that is its reason."""
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
    until = shown(from_ms(circuit.open_until_ms))
    how = f"open until {until}" if now_ms < circuit.open_until_ms else "half-open: one is tried"
    return f"waits: the circuit of {circuit.name} is {how}: {circuit.reason}"
