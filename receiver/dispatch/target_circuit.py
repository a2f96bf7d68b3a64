"""A target's circuit in this process: asked before claims, told of sends, logged and stored."""

import time
from collections.abc import Collection, Mapping

import structlog

from receiver.dispatch.circuit import SUCCESS, Circuit, CircuitRules, weigh
from receiver.notify import SendResult
from receiver.printable import storable
from receiver.store.base import OpenCircuit, Store

log = structlog.get_logger("receiver.dispatch")

MAX_REASON_CHARS = 300


class TargetCircuit:
    """One target's circuit. The store has it by the wall's clock, so that it outlives a restart."""

    def __init__(self, name: str, rules: CircuitRules, *, is_anew: bool = False) -> None:
        """`is_anew`: what the store says is of another target that had this name."""
        self._name = name
        self.rules = rules
        self._circuit = Circuit(rules)
        self._reason = ""
        self._stored_until_ms: int | None = None
        self.is_unsaved = is_anew
        """It has opened or closed, and the store does not know yet."""

    def limit(self, most: int) -> int:
        """How many sends may be under way now, of the `most` that usually may."""
        return self._circuit.limit(time.monotonic(), most)

    def begin(self) -> bool:
        """Whether a send may begin; not if the circuit has opened since it was claimed."""
        state = self._circuit.state(time.monotonic())
        if state == "half_open":
            log.info("target.circuit_half_open", name=self._name)
        return state != "open"

    def judge(self, result: SendResult) -> None:
        """A send has ended so, or could not begin."""
        weight = weigh(result.outcome, result.status_code, result.error_class)
        if weight is None:
            return
        if weight == SUCCESS:
            if self._circuit.succeed():
                self.is_unsaved = True
                log.info("target.circuit_closed", name=self._name)
            return
        if self._circuit.fail(time.monotonic(), weight):
            text = (result.error or result.error_class or "").removeprefix(f"{self._name}: ")
            self._reason = storable(text)[:MAX_REASON_CHARS]
            self.is_unsaved = True
            log.warning(
                "target.circuit_opened",
                name=self._name,
                failures=self._circuit.failures,
                for_seconds=self._circuit.pause_seconds,
                reason=self._reason,
            )

    def to_store(self) -> OpenCircuit:
        """As the store keeps it. It counts as saved from now on, until it changes again."""
        until, until_ms = self._circuit.open_until, None
        if until is not None:
            until_ms = int((time.time() + until - time.monotonic()) * 1000)
        self.is_unsaved, self._stored_until_ms = False, until_ms
        return OpenCircuit(
            self._name, self._circuit.failures, until_ms, self._reason if until_ms else None
        )

    def adopt(self, stored: OpenCircuit | None) -> None:
        """Be as the store says, where that is not what we have told it; None is closed."""
        until_ms = None if stored is None else stored.open_until_ms
        if self.is_unsaved or until_ms == self._stored_until_ms:
            return
        self._stored_until_ms = until_ms
        if stored is None or until_ms is None:
            self._circuit.succeed()
            return
        left_seconds = until_ms / 1000 - time.time()
        self._circuit.restore(stored.failures, time.monotonic(), left_seconds)
        self._reason = stored.reason or ""


class CircuitBoard:
    """All circuits of a dispatcher, and what the store says of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._circuits: dict[str, TargetCircuit] = {}
        self.open: dict[str, OpenCircuit] = {}
        """Those that are not closed, by target, those of other processes too."""

    def add(self, name: str, circuit: TargetCircuit) -> None:
        """Keep this one, too."""
        self._circuits[name] = circuit

    def replace(self, circuits: Mapping[str, TargetCircuit]) -> None:
        """Keep these and no others."""
        # A new dict, not the old one changed: somebody may be at it, waiting for the store.
        self._circuits = dict(circuits)

    async def look(self, *, names: Collection[str]) -> None:
        """Read how they stand, from the store, and close those of `names` that have none now."""
        self.open = {each.name: each for each in await self._store.open_circuits()}
        for name, circuit in self._circuits.items():
            circuit.adopt(self.open.get(name))
        for name in [*self.open]:
            if name in names and name not in self._circuits:
                await self._save(OpenCircuit(name, 0, None, None))

    async def save(self) -> None:
        """Tell the store what has opened or closed. Raises StoreUnavailable: then ask again."""
        for circuit in self._circuits.values():
            if circuit.is_unsaved:
                try:
                    await self._save(circuit.to_store())
                except BaseException:
                    circuit.is_unsaved = True
                    raise

    async def _save(self, circuit: OpenCircuit) -> None:
        await self._store.save_circuit(circuit)
        if circuit.open_until_ms is None:
            self.open.pop(circuit.name, None)
        else:
            self.open[circuit.name] = circuit
