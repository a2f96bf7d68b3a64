"""A target's circuit at work: what it holds back, its probe, a restart, and what is told of it."""

import asyncio
import time

import pytest
import structlog
from dispatch_parts import (
    DELIVERED,
    Answers,
    dispatching,
    in_state,
    send_message,
    target_lane,
    until,
)

from receiver.dispatch import Dispatcher, Lane
from receiver.dispatch.circuit import CircuitRules
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.errors import StoreUnavailable
from receiver.model import Message, Outcome, State
from receiver.notify import SendResult
from receiver.store.base import OpenCircuit
from receiver.store.sharing import can_share
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

NAME = Answers.name
REFUSED = SendResult(
    outcome=Outcome.TRANSIENT, error_class="ConnectionError", error=f"{NAME}: refused",
    retry_after_seconds=600.0,
)  # fmt: skip
"""With a wait so long that the failed one is no probe in these tests."""


class Switch(Answers):
    """A target that is down until somebody mends it."""

    def __init__(self, down: SendResult = REFUSED) -> None:
        super().__init__()
        self.down: SendResult | None = down
        self.running = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, _message: Message) -> SendResult:
        self.sent += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        await asyncio.sleep(0)
        self.running -= 1
        return self.down or DELIVERED


def circuit_of(*, failures: int = 3, pause_seconds: float = 600.0) -> TargetCircuit:
    return TargetCircuit(NAME, CircuitRules(failures=failures, pause_seconds=pause_seconds))


async def attempts_of(store: SqliteStore, ids: list[int]) -> list[int]:
    found = [await store.delivery(each) for each in ids]
    return [each.attempts for each in found if each is not None]


async def is_saved(store: SqliteStore) -> bool:
    return bool(await store.open_circuits())


async def test_while_it_is_open_nothing_is_claimed_and_no_attempt_used(store: SqliteStore) -> None:
    target, ids = Switch(), [await send_message(store) for _ in range(8)]
    one = target_lane(target, circuit=circuit_of())
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, one) as dispatcher:
            await until(lambda: is_saved(store))
            before = time.time()
            for _ in range(3):  # rounds of claims
                dispatcher.wake()
                await asyncio.sleep(0.02)
            (circuit,) = await store.open_circuits()
            assert [*dispatcher.circuits.open] == [NAME]
    assert target.sent == 3
    assert sorted(await attempts_of(store, ids)) == [0] * 5 + [1] * 3
    assert (circuit.name, circuit.failures, circuit.reason) == (NAME, 3, "refused")
    assert circuit.open_until_ms is not None
    assert before + 595 < circuit.open_until_ms / 1000 < time.time() + 600
    opened = [each for each in logs if each["event"] == "target.circuit_opened"]
    assert [(each["name"], each["failures"], each["for_seconds"]) for each in opened] == [
        (NAME, 3, 600.0)
    ]


async def test_one_probe_goes_first_and_its_success_lets_all_go(store: SqliteStore) -> None:
    target = Switch()
    ids = [await send_message(store) for _ in range(12)]
    one = target_lane(target, limit=4, circuit=circuit_of(failures=4, pause_seconds=0.05))
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, one):
            await until(lambda: is_saved(store))
            opened_at, target.most = target.sent, 0
            await until(lambda: target.sent >= opened_at + 2)
            assert target.most == 1, "probes go one at a time"
            target.down = None
            await until(lambda: _all_but_failed(store, ids))
            assert await store.open_circuits() == []
            assert target.most > 1, "closed, it takes several again"
    told = [each["event"] for each in logs if each["event"].startswith("target.")]
    assert told[:2] == ["target.circuit_opened", "target.circuit_half_open"]
    assert told[-2:] == ["target.circuit_half_open", "target.circuit_closed"]


async def _all_but_failed(store: SqliteStore, ids: list[int]) -> bool:
    """All have been delivered but those that failed, whose next attempt is far off."""
    found = [await store.delivery(each) for each in ids]
    return all(
        each is not None and each.state in (State.SUCCEEDED, State.RETRYING) for each in found
    )


async def test_a_restart_does_not_hammer_a_dead_target(store: SqliteStore) -> None:
    target, ids = Switch(), [await send_message(store) for _ in range(6)]
    async with dispatching(store, target_lane(target, circuit=circuit_of())):
        await until(lambda: is_saved(store))
    assert target.sent == 3
    for _ in range(2):
        one = target_lane(target, circuit=circuit_of())
        async with dispatching(store, one) as dispatcher:
            assert one.room == 0
            dispatcher.wake()
            await asyncio.sleep(0.03)
    assert target.sent == 3
    assert sorted(await attempts_of(store, ids)) == [0, 0, 0, 1, 1, 1]


async def test_after_a_restart_past_the_pause_one_probe_goes_first(store: SqliteStore) -> None:
    past = int(time.time() * 1000) - 1000
    await store.save_circuit(OpenCircuit(NAME, 6, past, "refused"))
    target = Switch()
    for _ in range(5):
        await send_message(store)
    async with dispatching(store, target_lane(target, limit=4, circuit=circuit_of())):
        await until(lambda: target.sent)

        async def is_open_again() -> bool:
            (circuit,) = await store.open_circuits()
            assert circuit.open_until_ms is not None
            return circuit.open_until_ms > past and circuit.failures == 7

        await until(is_open_again)
    assert target.sent == 1


async def test_a_wall_clock_that_jumped_back_keeps_none_open_for_ever(store: SqliteStore) -> None:
    far = int(time.time() * 1000) + 10**9
    await store.save_circuit(OpenCircuit(NAME, 3, far, "refused"))
    target = Switch()
    target.down = None
    delivery_id = await send_message(store)
    one = target_lane(target, circuit=circuit_of(pause_seconds=0.05))
    async with dispatching(store, one):
        await in_state(store, delivery_id, State.SUCCEEDED)


async def test_a_circuit_that_was_switched_off_is_closed(store: SqliteStore) -> None:
    far = int(time.time() * 1000) + 10**6
    for name in (NAME, "gone/1-json"):
        await store.save_circuit(OpenCircuit(name, 5, far, "refused"))
    target = Switch()
    target.down = None
    delivery_id = await send_message(store)
    async with dispatching(store, target_lane(target)):
        await in_state(store, delivery_id, State.SUCCEEDED)
        assert [each.name for each in await store.open_circuits()] == ["gone/1-json"]


async def test_a_target_that_hangs_in_an_earlier_send_is_left_alone(store: SqliteStore) -> None:
    """`TargetBusy` uses no attempt, so only the circuit ends the asking."""
    busy = SendResult(outcome=Outcome.TRANSIENT, error_class="TargetBusy", error="it hangs",
                      retry_after_seconds=0.001)  # fmt: skip
    target, delivery_id = Switch(busy), await send_message(store, attempts=1)
    async with dispatching(store, target_lane(target, circuit=circuit_of(failures=5))):
        await until(lambda: is_saved(store))
    assert target.sent == 3
    assert await attempts_of(store, [delivery_id]) == [0]


async def test_what_the_message_alone_is_to_blame_for_does_not_open_it(store: SqliteStore) -> None:
    bad = SendResult(outcome=Outcome.PERMANENT, status_code=422, error_class="HTTPStatus")
    target, ids = Switch(bad), [await send_message(store) for _ in range(6)]
    async with dispatching(store, target_lane(target, circuit=circuit_of())):
        for each in ids:
            await in_state(store, each, State.DEAD)
    assert await store.open_circuits() == []


async def test_a_revoked_token_costs_a_few_messages_not_all(store: SqliteStore) -> None:
    revoked = SendResult(outcome=Outcome.PERMANENT, status_code=401, error_class="HTTPStatus",
                         error=f"{NAME}: answered 401")  # fmt: skip
    target, ids = Switch(revoked), [await send_message(store) for _ in range(6)]
    async with dispatching(store, target_lane(target, circuit=circuit_of())):
        await until(lambda: is_saved(store))
    found = [await store.delivery(each) for each in ids]
    states = [each.state for each in found if each is not None]
    assert states == [State.DEAD] * 3 + [State.PENDING] * 3


async def test_claims_under_way_when_it_opens_are_given_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Switch()
    circuit = circuit_of(failures=1)
    ids = [await send_message(store) for _ in range(4)]
    claim = store.claim

    async def opens_meanwhile(*args: object, **options: object) -> object:
        claims = await claim(*args, **options)  # type: ignore[arg-type]
        if claims:
            circuit.judge(REFUSED)
        return claims

    monkeypatch.setattr(store, "claim", opens_meanwhile)
    async with dispatching(store, target_lane(target, limit=4, circuit=circuit)):
        await until(lambda: is_saved(store))
    assert target.sent == 0
    found = [await store.delivery(each) for each in ids]
    assert {(each.state, each.attempts) for each in found if each} == {(State.PENDING, 0)}


async def test_an_outage_of_the_store_loses_no_change_of_a_circuit(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.dispatch.claiming.AGAIN_SECONDS", 0.005)
    refusals = 3
    save = store.save_circuit

    async def save_later(circuit: OpenCircuit) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise StoreUnavailable("locked")
        await save(circuit)

    monkeypatch.setattr(store, "save_circuit", save_later)
    for _ in range(4):
        await send_message(store)
    async with dispatching(store, target_lane(Switch(), circuit=circuit_of())):
        await until(lambda: is_saved(store))
    assert refusals < 0


@pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here")
async def test_who_takes_a_targets_lane_over_knows_its_circuit(store: SqliteStore) -> None:
    """At once, and not at its next look: at its start it has seen the circuit closed."""
    first, second = Switch(), Switch()
    first.gate.clear()
    ids = [await send_message(store) for _ in range(6)]
    dispatcher = Dispatcher(store, [target_lane(first, circuit=circuit_of())])
    await dispatcher.start()
    await until(lambda: first.sent)
    other = SqliteStore(store.path, role="worker")
    await other.open()
    circuit = circuit_of()
    async with dispatching(other, target_lane(second, circuit=circuit)):
        first.gate.set()
        await until(lambda: is_saved(store))
        await dispatcher.stop(0.0)
        await store.close()
        await until(lambda: circuit.limit(1) == 0)
    assert (first.sent, second.sent) == (3, 0)
    assert sorted(await attempts_of(other, ids)) == [0, 0, 0, 1, 1, 1]
    await other.close()


async def test_what_another_process_says_of_a_circuit_is_heeded(store: SqliteStore) -> None:
    """At the next look: this process may get the target's lane from that one."""
    circuit, other = circuit_of(), circuit_of()
    one = target_lane(Switch(), circuit=circuit)
    dispatcher = Dispatcher(store, [one])
    for _ in range(3):
        other.judge(REFUSED)
    await store.save_circuit(other.to_store())
    await dispatcher.circuits.look(names=[NAME])
    assert (one.room, [*dispatcher.circuits.open]) == (0, [NAME])
    other.judge(DELIVERED)
    await store.save_circuit(other.to_store())
    await dispatcher.circuits.look(names=[NAME])
    assert (one.room, dispatcher.circuits.open) == (1, {})


def test_failures_that_have_not_opened_it_outlive_a_look() -> None:
    circuit = circuit_of()
    for _ in range(2):
        circuit.judge(REFUSED)
    circuit.adopt(None)
    circuit.judge(REFUSED)
    assert circuit.limit(1) == 0


def test_a_lane_without_a_circuit_has_all_its_room() -> None:
    assert Lane("x", Answers, 7).room == 7  # type: ignore[arg-type]
