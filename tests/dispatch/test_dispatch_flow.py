"""Claims, hand-overs, limits, order, postponement, faults of the store, and stopping."""

import asyncio
import contextlib
import time
from threading import Event as ThreadEvent
from typing import Any

import pytest
import structlog
from dispatch_parts import (
    DELIVERED,
    RULES,
    Answers,
    Gate,
    dispatching,
    event,
    handler_lane,
    in_state,
    intake_of,
    lane,
    on_test,
    recording,
    send,
    send_message,
    succeed,
    target_lane,
    until,
)

from receiver.dispatch import Dispatcher, Postpone
from receiver.dispatch import claiming as claiming_module
from receiver.dispatch import dispatcher as dispatcher_module
from receiver.dispatch import recording as recording_module
from receiver.dispatch.ending import Ending
from receiver.dispatch.heart import Heart
from receiver.dispatch.threads import HandlerThreads
from receiver.errors import StoreUnavailable
from receiver.model import Outcome, State
from receiver.notify import SendResult
from receiver.store.base import Claim, Claims, Finish
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


# -- taking work ---------------------------------------------------------------------------------


async def test_what_was_stored_before_the_start_is_taken_up(store: SqliteStore) -> None:
    delivery_id = await send(store, "h.test")
    seen: list[Claim] = []
    async with dispatching(store, lane(recording(seen))) as dispatcher:
        assert dispatcher.backlog.count >= 0
        await in_state(store, delivery_id, State.SUCCEEDED)
    assert [each.delivery_id for each in seen] == [delivery_id]


async def test_what_a_crash_left_running_is_taken_up_at_the_start(store: SqliteStore) -> None:
    delivery_id = await send(store, "h.test")
    await store.claim({"h.test": 1}, now_ms=10**13)
    assert store._leases is not None
    store._leases.worker_id = 0  # as a killed process: nothing is given back
    await store.close()
    after = SqliteStore(store.path)
    await after.open()
    seen: list[Claim] = []
    async with dispatching(after, lane(recording(seen))):
        await in_state(after, delivery_id, State.SUCCEEDED)
    assert [each.attempt for each in seen] == [2]
    assert [each.possible_duplicate for each in await after.attempts(delivery_id)] == [False, True]
    await after.close()


async def test_an_accepted_event_is_handed_over_claimed(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate, limit=2)) as dispatcher:
        intake = intake_of(store, dispatcher, on_test())
        recorded = [await intake.accept(event(), {}) for _ in range(3)]
        ids = [each.delivery_ids[0] for each in recorded]
        states = [(await in_state(store, each, *State)).state for each in ids]
        assert states == [State.RUNNING, State.RUNNING, State.PENDING], "the third found no room"
        gate.open.set()
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)
        await until(lambda: dispatcher.backlog.count == 0)
    assert gate.most == 2


async def test_of_a_bounded_number_the_next_begins_as_soon_as_one_has_ended(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`work --concurrency 1`: not only when the dispatcher looks again by itself."""
    monkeypatch.setattr(claiming_module, "POLL_SECONDS", 60.0)
    monkeypatch.setattr(claiming_module, "LOOK_SECONDS", 60.0)
    running = most = 0

    async def work(claim: Claim) -> Finish:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)  # meanwhile the dispatcher finds no room, and waits
        running -= 1
        return await succeed(claim)

    ids = [await send(store, name) for name in ("h.test", "h.other", "h.test")]
    lanes = [lane(work, limit=5), lane(work, name="h.other", limit=5)]
    async with dispatching(store, *lanes, max_running=1):
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)
    assert most == 1


async def test_lanes_share_a_bounded_number_of_places_by_turns(store: SqliteStore) -> None:
    """`work --concurrency 1`: a long backlog of one handler keeps no other waiting."""
    seen: list[Claim] = []
    names = ["h.first"] * 4 + ["h.second"] * 2
    ids = [await send(store, name) for name in names]
    lanes = [lane(recording(seen), name=name) for name in ("h.first", "h.second")]
    async with dispatching(store, *lanes, max_running=1):
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)
    order = [claim.name.removeprefix("h.") for claim in seen]
    assert order == ["first", "second", "first", "second", "first", "first"]


async def test_a_lane_that_hangs_leaves_the_others_their_share(store: SqliteStore) -> None:
    seen: list[Claim] = []
    gate = Gate()
    hanging = lane(gate, name="h.hangs")
    stuck = [await send(store, "h.hangs") for _ in range(6)]
    ids = [await send(store, "h.test") for _ in range(6)]
    async with dispatching(store, hanging, lane(recording(seen)), max_running=4):
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)
        gate.open.set()
        for each in stuck:
            await in_state(store, each, State.SUCCEEDED)


async def test_what_is_too_much_for_the_memory_is_claimed_in_parts(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be claimed and given back for ever, without a pause."""
    monkeypatch.setattr(claiming_module, "AGAIN_SECONDS", 0.005)
    monkeypatch.setattr(claiming_module, "_MOST_AFTER_FAULT", 8)
    claim = store.claim

    async def claim_few(wants: Any, **options: Any) -> Claims:
        if wants["h.test"] > 2:
            raise MemoryError
        return await claim(wants, **options)

    monkeypatch.setattr(store, "claim", claim_few)
    ids = [await send(store, "h.test") for _ in range(5)]
    async with dispatching(store, lane(succeed)):
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)


async def test_a_handed_over_event_is_as_the_stored_one(store: SqliteStore) -> None:
    seen: list[Claim] = []
    async with dispatching(store, lane(recording(seen))) as dispatcher:
        recorded = await intake_of(store, dispatcher, on_test()).accept(event(), {})
        await in_state(store, recorded.delivery_ids[0])
    (claim,) = seen
    assert claim.event == await store.event(recorded.event_id)
    assert claim.event.headers == (("host", "a"),)


async def test_a_duplicate_gives_its_place_back(store: SqliteStore) -> None:
    seen: list[Claim] = []
    one = lane(recording(seen), limit=1)
    async with dispatching(store, one) as dispatcher:
        intake, same = intake_of(store, dispatcher, on_test()), event()
        first = await intake.accept(same, {})
        await in_state(store, first.delivery_ids[0])
        assert (await intake.accept(same._replace(id="evt_other"), {})).is_duplicate  # type: ignore[arg-type]
        await until(lambda: one.running == 0)
    assert len(seen) == 1


async def test_past_the_backlogs_limit_events_are_refused(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate, limit=1)) as dispatcher:
        intake = intake_of(store, dispatcher, on_test(), max_backlog=3)
        for _ in range(3):
            await intake.accept(event(), {})
        with pytest.raises(StoreUnavailable, match=r"store\.max_backlog is 3"):
            intake.accept(event(), {})
        gate.open.set()
        await until(lambda: dispatcher.backlog.count == 0)
        await intake.accept(event(), {})


async def test_a_handler_runs_no_more_at_a_time_than_its_lane_allows(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate, limit=3)):
        ids = [await send(store, "h.test") for _ in range(10)]
        await until(lambda: gate.running == 3)
        gate.open.set()
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)
    assert gate.most == 3


async def test_a_full_lane_keeps_no_other_waiting(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate, limit=1), lane(succeed, "other")):
        for _ in range(3):
            await send(store, "h.test")
        await until(lambda: gate.running == 1)
        await in_state(store, await send(store, "other"), State.SUCCEEDED)


async def test_deliveries_of_one_key_run_one_at_a_time_in_order(store: SqliteStore) -> None:
    """The second attempt of each comes before the first of the next; other keys flow on."""
    ran: list[tuple[str | None, int]] = []
    busy: set[str | None] = set()

    async def run(claim: Claim) -> Finish:
        assert claim.key not in busy
        busy.add(claim.key)
        ran.append((claim.key, claim.delivery_id))
        await asyncio.sleep(0)
        busy.discard(claim.key)
        ending = Ending(claim, RULES)
        if claim.attempt == 1:
            return ending.failed("ValueError", "once", after_seconds=0.0)
        return ending.succeeded()

    ids = [(key, await send(store, "h.test", key=key)) for _ in range(4) for key in "ab"]
    async with dispatching(store, lane(run)):
        for _, delivery_id in ids:
            await in_state(store, delivery_id, State.SUCCEEDED)
    for key in "ab":
        expected = [each for k, each in ids if k == key for _ in (1, 2)]
        assert [each for k, each in ran if k == key] == expected


async def test_a_wake_up_during_a_claim_round_is_not_lost(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming_module, "POLL_SECONDS", 60.0)
    in_round, go_on = asyncio.Event(), asyncio.Event()
    due_names = store.due_names

    async def slow(names: Any, *, now_ms: int) -> list[str]:
        found = await due_names(names, now_ms=now_ms)
        in_round.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(store, "due_names", slow)
    async with dispatching(store, lane(succeed)) as dispatcher:
        await in_round.wait()
        delivery_id = await send(store, "h.test")
        dispatcher.wake()
        go_on.set()
        await in_state(store, delivery_id, State.SUCCEEDED)


async def test_deliveries_of_a_name_that_is_gone_are_told_and_counted(store: SqliteStore) -> None:
    for _ in range(2):
        await send(store, "h.removed")
    await send(store, "h.test", key="7")
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, lane(succeed)) as dispatcher:
            assert dispatcher.without_lane == {"h.removed": 2}
    (line,) = [each for each in logs if each["event"] == "dispatch.nobody_runs"]
    assert (line["name"], line["deliveries"], line["log_level"]) == ("h.removed", 2, "warning")


# -- not now -------------------------------------------------------------------------------------


async def test_a_postponed_run_was_no_attempt(store: SqliteStore) -> None:
    calls: list[int] = []

    async def run(claim: Claim) -> Finish:
        calls.append(claim.attempt)
        if len(calls) < 3:
            raise Postpone(0.001)
        return await succeed(claim)

    async with dispatching(store, lane(run)):
        delivery_id = await send(store, "h.test", attempts=1)
        done = await in_state(store, delivery_id)
    assert (done.state, done.attempts, calls) == (State.SUCCEEDED, 1, [1, 1, 1])
    assert len(await store.attempts(delivery_id)) == 1


async def test_a_busy_target_uses_up_no_attempt(store: SqliteStore) -> None:
    busy = SendResult(outcome=Outcome.TRANSIENT, error_class="TargetBusy",
                      retry_after_seconds=0.001)  # fmt: skip
    target = Answers(busy, busy, busy, DELIVERED)
    delivery_id = await send_message(store, attempts=1)
    async with dispatching(store, target_lane(target)):
        done = await in_state(store, delivery_id)
    assert (done.state, done.attempts, target.sent) == (State.SUCCEEDED, 1, 4)


async def test_a_retry_after_is_obeyed(store: SqliteStore) -> None:
    slow = SendResult(outcome=Outcome.TRANSIENT, status_code=429, error_class="HTTPStatus",
                      error="429", retry_after_seconds=600.0)  # fmt: skip
    delivery_id = await send_message(store)
    before = time.time()
    async with dispatching(store, target_lane(Answers(slow))):
        waiting = await in_state(store, delivery_id, State.RETRYING)
    assert before + 599 < waiting.due_at.timestamp() < time.time() + 601
    (attempt,) = await store.attempts(delivery_id)
    assert (attempt.status_code, attempt.outcome) == (429, Outcome.TRANSIENT)


async def test_after_an_unknown_end_the_retry_is_a_possible_duplicate(store: SqliteStore) -> None:
    unknown = SendResult(outcome=Outcome.UNKNOWN, error_class="DeadlineExceeded", error="?")
    delivery_id = await send_message(store)
    async with dispatching(store, target_lane(Answers(unknown, DELIVERED))):
        await in_state(store, delivery_id, State.SUCCEEDED)
    attempts = await store.attempts(delivery_id)
    assert [(each.outcome, each.possible_duplicate) for each in attempts] == [
        (Outcome.UNKNOWN, False), (Outcome.DELIVERED, True),
    ]  # fmt: skip


async def test_a_permanent_refusal_is_dead_with_its_cause(store: SqliteStore) -> None:
    gone = SendResult(outcome=Outcome.PERMANENT, status_code=410, error_class="HTTPStatus",
                      error="410: gone")  # fmt: skip
    delivery_id = await send_message(store)
    async with dispatching(store, target_lane(Answers(gone))):
        done = await in_state(store, delivery_id)
    assert (done.state, done.attempts, done.reason) == (State.DEAD, 1, "HTTPStatus: 410: gone")


# -- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [KeyError("a bug"), asyncio.CancelledError()])
async def test_a_fault_in_a_runner_is_an_attempt_and_no_stuck_delivery(
    store: SqliteStore, fault: BaseException
) -> None:
    async def run(_claim: Claim) -> Finish:
        raise fault

    one = lane(run)
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, one, redact=RULES.redact):
            retried = await send(store, "h.test", attempts=2)
            dead = await send(store, "h.test", attempts=1)
            assert (await in_state(store, retried, State.RETRYING)).attempts == 1
            assert (await in_state(store, dead)).state is State.DEAD
            await until(lambda: one.running == 0)
    assert [each["event"] for each in logs].count("delivery.fault") == 2
    (attempt,) = await store.attempts(dead)
    assert attempt.error == "a fault in clarihook itself; its log has the traceback"
    assert attempt.traceback is not None
    assert "raise fault" in attempt.traceback


class Outage:
    """Makes calls of the store fail until it is over, as a locked database does."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = False
        self.failed = 0
        monkeypatch.setattr(recording_module, "AGAIN_SECONDS", 0.005)
        monkeypatch.setattr(claiming_module, "AGAIN_SECONDS", 0.005)
        finish, release, claim = store.finish, store.release, store.claim

        def finish_or_fail(ended: Finish, done: Any) -> None:
            if self._fails():
                asyncio.get_running_loop().call_soon(done, StoreUnavailable("locked"))
            else:
                finish(ended, done)

        async def release_or_fail(ids: Any, *, due_ms: int | None = None) -> None:
            if self._fails():
                raise StoreUnavailable("locked")
            await release(ids, due_ms=due_ms)

        async def claim_or_fail(wants: Any, **options: Any) -> list[Claim]:
            if self._fails():
                raise StoreUnavailable("locked")
            return await claim(wants, **options)

        monkeypatch.setattr(store, "finish", finish_or_fail)
        monkeypatch.setattr(store, "release", release_or_fail)
        monkeypatch.setattr(store, "claim", claim_or_fail)

    def _fails(self) -> bool:
        self.failed += self.is_on
        return self.is_on


async def test_an_end_is_told_until_the_store_takes_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the handler does not run again for it. The outage is logged once, and its end."""
    outage, gate = Outage(store, monkeypatch), Gate()
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, lane(gate)):
            ids = [await send(store, "h.test") for _ in range(3)]
            await until(lambda: gate.running == 3)
            outage.is_on = True
            gate.open.set()
            await until(lambda: outage.failed > 12)
            outage.is_on = False
            for each in ids:
                assert (await in_state(store, each)).attempts == 1
    told = [each["event"] for each in logs]
    assert told.count("dispatch.store_unavailable") == 1
    assert told.count("dispatch.store_is_back") == 1


async def test_claiming_goes_on_when_the_store_is_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(store, monkeypatch)
    outage.is_on = True
    one = lane(succeed, limit=1)
    async with dispatching(store, one):
        delivery_id = await send(store, "h.test")
        await until(lambda: outage.failed > 3)
        assert one.running == 0
        outage.is_on = False
        await in_state(store, delivery_id, State.SUCCEEDED)


async def test_a_postponed_delivery_is_not_stranded_by_an_outage(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(store, monkeypatch)

    async def run(claim: Claim) -> Finish:
        if not outage.failed:
            outage.is_on = True
            raise Postpone(0.001)
        return await succeed(claim)

    async with dispatching(store, lane(run)):
        delivery_id = await send(store, "h.test")
        await until(lambda: outage.failed > 3)
        outage.is_on = False
        assert (await in_state(store, delivery_id)).state is State.SUCCEEDED


# -- stopping ------------------------------------------------------------------------------------


async def test_a_stop_waits_for_what_runs(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate)) as dispatcher:
        delivery_id = await send(store, "h.test")
        await until(lambda: gate.running == 1)
        stopping = asyncio.ensure_future(dispatcher.stop(5.0))
        await asyncio.sleep(0)
        gate.open.set()
        assert await stopping == 0
        done = await store.delivery(delivery_id)
        assert done is not None
        assert done.state is State.SUCCEEDED, "recorded before stop() returned"


async def test_a_stop_gives_back_what_does_not_end_and_its_attempt(store: SqliteStore) -> None:
    gate = Gate()
    async with dispatching(store, lane(gate, limit=3)) as dispatcher:
        ids = [await send(store, "h.test") for _ in range(4)]
        await until(lambda: gate.running == 3)
        assert await dispatcher.stop(0.01) == 3
    for each in ids:
        found = await store.delivery(each)
        assert found is not None
        assert (found.state, found.attempts) == (State.PENDING, 0)
        assert await store.attempts(each) == []


async def test_a_run_that_was_not_even_begun_is_given_back(store: SqliteStore) -> None:
    """A task that is cancelled before its first step runs none of its code."""
    async with dispatching(store, lane(succeed)) as dispatcher:
        intake = intake_of(store, dispatcher, on_test())
        recorded = await intake.accept(event(), {})
        stopping = asyncio.ensure_future(dispatcher.stop(0.0))
        await stopping
        (found,) = await store.deliveries_of(recorded.event_id)
        assert found.state in (State.PENDING, State.SUCCEEDED)


async def test_what_is_handed_over_during_a_stop_is_given_back(store: SqliteStore) -> None:
    """Its commit was under way when the stop came: it must not be nobody's."""
    async with dispatching(store, lane(succeed)) as dispatcher:
        intake = intake_of(store, dispatcher, on_test())
        accepting = [intake.accept(event(), {}) for _ in range(5)]
        given_back = await dispatcher.stop(0.0)
        recorded = await asyncio.gather(*accepting)
        assert given_back == 5
        for each in recorded:
            (found,) = await store.deliveries_of(each.event_id)
            assert (found.state, found.attempts) == (State.PENDING, 0)


async def test_claims_under_way_at_a_stop_are_given_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()
    claim = store.claim

    async def slow(wants: Any, **options: Any) -> list[Claim]:
        claims = await claim(wants, **options)
        claiming.set()
        await go_on.wait()
        return claims

    monkeypatch.setattr(store, "claim", slow)
    delivery_id = await send(store, "h.test")
    async with dispatching(store, lane(succeed)) as dispatcher:
        await claiming.wait()
        stopping = asyncio.ensure_future(dispatcher.stop(0.0))
        await asyncio.sleep(0)
        go_on.set()
        assert await stopping == 1
    found = await store.delivery(delivery_id)
    assert found is not None
    assert (found.state, found.attempts) == (State.PENDING, 0)


async def test_a_send_cut_by_a_stop_may_have_arrived(store: SqliteStore) -> None:
    """So it is told as unknown, and never makes the delivery dead, not even at the last attempt."""
    target = Answers()
    delivery_id = await send_message(store, attempts=1)
    async with dispatching(store, target_lane(target)) as dispatcher:
        await target.hangs.wait()
        await dispatcher.stop(0.0)
    found = await store.delivery(delivery_id)
    assert found is not None
    assert found.state is State.RETRYING
    async with dispatching(store, target_lane(Answers(DELIVERED))):
        await in_state(store, delivery_id, State.SUCCEEDED)
    attempts = await store.attempts(delivery_id)
    assert [(each.outcome, each.possible_duplicate) for each in attempts] == [
        (Outcome.UNKNOWN, False), (Outcome.DELIVERED, True),
    ]  # fmt: skip


async def test_a_handler_that_does_not_let_itself_be_cancelled_is_left_behind(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "CANCEL_SECONDS", 0.02)
    monkeypatch.setattr(dispatcher_module, "STORE_SECONDS", 0.5)
    release, begun = asyncio.Event(), asyncio.Event()

    async def run(claim: Claim) -> Finish:
        begun.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return await succeed(claim)

    gate = Gate()
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, lane(run), lane(gate, "other")) as dispatcher:
            stubborn, polite = await send(store, "h.test"), await send(store, "other")
            await until(lambda: begun.is_set() and gate.running == 1)
            assert await dispatcher.stop(0.0) == 1
            await store.close()
            release.set()
            await until(lambda: dispatcher.running == 0)
    assert "dispatch.runs_left_behind" in [each["event"] for each in logs]
    after = SqliteStore(store.path)
    await after.open()
    for delivery_id, state, attempts in ((stubborn, State.RETRYING, 1), (polite, State.PENDING, 0)):
        found = await after.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.attempts) == (state, attempts)
    await after.close()


@pytest.mark.parametrize("ends", [True, False])
async def test_a_sync_handler_at_a_stop_ends_in_time_or_is_left_behind(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """A thread can't be cut off: given back at once, it could run twice at the same time."""
    monkeypatch.setattr(dispatcher_module, "CANCEL_SECONDS", 5.0 if ends else 0.02)
    begun, release = ThreadEvent(), ThreadEvent()

    def handle(_event: dict[str, Any]) -> None:
        begun.set()
        release.wait(5)

    threads = HandlerThreads(1)
    async with dispatching(store, handler_lane(store, handle, threads=threads)) as dispatcher:
        running, queued = await send(store, "h.test"), await send(store, "h.test")
        await until(lambda: begun.is_set() and dispatcher.running == 2)
        stopping = asyncio.ensure_future(dispatcher.stop(0.0))
        await until(lambda: dispatcher.running == 1)  # the queued one
        if ends:
            release.set()
        assert await stopping == 1
        found = await store.delivery(running)
        assert found is not None
        assert found.state is (State.SUCCEEDED if ends else State.RUNNING)
        waiting = await store.delivery(queued)
        assert waiting is not None
        assert (waiting.state, waiting.attempts) == (State.PENDING, 0)
        release.set()
        await until(lambda: dispatcher.running == 0)
    threads.shutdown()


async def test_what_runs_keeps_its_lease_while_a_stop_waits(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[int] = []
    heartbeat = store.heartbeat

    async def count() -> int:
        beats.append(1)
        return await heartbeat()

    monkeypatch.setattr(store, "heartbeat", count)
    gate = Gate()
    async with dispatching(store, lane(gate), lease_seconds=0.03) as dispatcher:
        await send(store, "h.test")
        await until(lambda: gate.running == 1)
        stopping = asyncio.ensure_future(dispatcher.stop(5.0))
        await asyncio.sleep(0)
        beats.clear()
        await until(lambda: len(beats) > 3)
        gate.open.set()
        await stopping


async def test_a_stop_ends_though_the_store_is_out(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "STORE_SECONDS", 0.05)
    outage, gate = Outage(store, monkeypatch), Gate()
    async with dispatching(store, lane(gate)) as dispatcher:
        delivery_id = await send(store, "h.test")
        await until(lambda: gate.running == 1)
        outage.is_on = True
        with structlog.testing.capture_logs() as logs:
            await dispatcher.stop(0.0)
    assert "dispatch.not_recorded" in [each["event"] for each in logs]
    outage.is_on = False
    found = await store.delivery(delivery_id)
    assert found is not None
    assert found.state is State.RUNNING, "the next start takes it up"


async def test_beats_that_an_outage_puts_off_are_told_once(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat, beats, failed = store.heartbeat, [], []
    is_out = False

    async def beat_or_fail() -> int:
        if is_out:
            failed.append(1)
            raise StoreUnavailable("locked")
        beats.append(1)
        return await heartbeat()

    monkeypatch.setattr(store, "heartbeat", beat_or_fail)
    heart = Heart(store, lease_seconds=0.03)
    with structlog.testing.capture_logs() as logs:
        await heart.start()
        is_out = True
        await until(lambda: len(failed) > 3)
        is_out = False
        beats.clear()
        await until(lambda: len(beats) > 1)
        await heart.stop()
    said = [line["event"] for line in logs]
    assert said.count("dispatch.heartbeat_put_off") == 1
    (back,) = [line for line in logs if line["event"] == "dispatch.heartbeat_goes_on"]
    assert back["put_off"] == len(failed)


async def test_a_lapse_is_told_once_though_two_ask_for_the_lease(store: SqliteStore) -> None:
    """The heart itself, and a claim that wants a lease."""
    lapses: list[int] = []
    heart = Heart(store, on_lapse=lambda: lapses.append(1))
    await heart.start()
    await heart.stop()
    heart._lease_until = time.monotonic() - 1  # it stood still for so long
    await asyncio.gather(heart.ensure_lease(), heart.ensure_lease())
    assert heart.has_lease
    assert lapses == [1]


async def test_a_dispatcher_that_never_started_stops(store: SqliteStore) -> None:
    assert await Dispatcher(store, [lane(succeed)]).stop(0.0) == 0
