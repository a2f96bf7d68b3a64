"""What every store does, whatever it keeps its data in: `Store` in receiver/store/base.py.

A test module of an implementation subclasses `StoreContract` and gives it two fixtures: `store`,
open and empty, and `survivor`, which lets the store's process die and opens the database anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_data import (
    FAR_MS,
    HANDLER,
    MESSAGE,
    claim_one,
    end,
    event,
    finish,
    handler,
    now_ms,
    record_one,
)

from receiver.errors import LeaseLost, StoreError
from receiver.holds import Hold
from receiver.model import (
    INTERNAL_SOURCE,
    MOVES,
    EventId,
    NewDelivery,
    NewEvent,
    Outcome,
    Role,
    Severity,
    State,
    Token,
    from_ms,
)
from receiver.store.base import (
    DeadDelivery,
    DeliveryFilter,
    EventFilter,
    Rejection,
    RejectionFilter,
    StagedMessage,
    Store,
)

Survivor = Callable[[Store], Awaitable[Store]]

OPS = NewDelivery("target", "ops/1-slack", 5)
MAIL = NewDelivery("target", "ops/2-mailto", 3)
pytestmark = pytest.mark.anyio


async def state_of(store: Store, delivery_id: int) -> State:
    found = await store.delivery(delivery_id)
    assert found is not None
    return found.state


class RecordContract:
    """Events and their deliveries."""

    async def test_an_event_reads_back_as_it_came(self, store: Store) -> None:
        new = event(message_id="msg_1", secret_index=1, body=b"\x00\xff not text")
        recorded = await store.record(new, [handler("a.one"), handler("b.two", attempts=3)])

        assert not recorded.is_duplicate
        stored = await store.event(new.id)
        assert stored is not None
        assert (stored.id, stored.seq, stored.source, stored.type) == (
            new.id, recorded.seq, new.source, new.type,
        )  # fmt: skip
        assert stored.body == new.body
        assert stored.headers == (("host", "a"), ("x-two", "1"), ("x-two", "2"))
        assert (stored.message_id, stored.secret_index) == ("msg_1", 1)
        assert stored.received_at == from_ms(new.received_ms)
        made = await store.deliveries_of(new.id)
        assert [each.id for each in made] == list(recorded.delivery_ids)
        assert [(each.name, each.max_attempts) for each in made] == [("a.one", 8), ("b.two", 3)]
        assert {each.state for each in made} == {State.PENDING}

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        body=st.binary(max_size=2000),
        headers=st.text(st.characters(codec="latin-1"), max_size=200),
        message_id=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
        secret_index=st.none() | st.integers(0, 10),
    )
    async def test_any_bytes_and_headers_round_trip(
        self,
        store: Store,
        body: bytes,
        headers: str,
        message_id: str | None,
        secret_index: int | None,
    ) -> None:
        new = event(body=body, headers=headers, message_id=message_id, secret_index=secret_index)
        await store.record(new, [])
        stored = await store.event(new.id)
        assert stored is not None
        assert stored.body == body
        assert stored.header_text == headers
        assert (stored.message_id, stored.secret_index) == (message_id, secret_index)

    async def test_a_duplicate_gets_the_first_events_id_and_runs_nothing(
        self, store: Store
    ) -> None:
        first, again = event(key="same"), event(key="same", body=b"other")
        await store.record(first, [handler()])

        recorded = await store.record(again, [handler()])

        assert (recorded.event_id, recorded.is_duplicate) == (first.id, True)
        assert list(recorded.delivery_ids) == []
        stored = await store.event(first.id)
        assert stored is not None
        assert stored.duplicates == 1
        assert await store.event(again.id) is None
        assert await store.count_states() == {State.PENDING: 1}

    async def test_a_hundred_of_the_same_at_once_are_one_event(self, store: Store) -> None:
        """RELIABILITY.md B9."""
        recorded = await asyncio.gather(
            *(store.record(event(key="same"), [handler()]) for _ in range(100))
        )
        assert sum(not each.is_duplicate for each in recorded) == 1
        assert len({each.event_id for each in recorded}) == 1
        stored = await store.event(recorded[0].event_id)
        assert stored is not None
        assert stored.duplicates == 99
        assert await store.count_states() == {State.PENDING: 1}

    async def test_the_same_key_of_another_source_is_another_event(self, store: Store) -> None:
        await store.record(event(key="same"), [])
        recorded = await store.record(event(key="same", source="stripe"), [])
        assert not recorded.is_duplicate

    async def test_the_dispatcher_hears_of_it_even_if_the_caller_has_gone(
        self, store: Store
    ) -> None:
        heard: list[object] = []
        new = event()
        waiting = asyncio.ensure_future(store.record(new, [handler()], committed=heard.append))
        waiting.cancel()
        await store.record(event(), [])  # queued behind it

        assert len(heard) == 1
        assert await store.event(new.id) is not None

    async def test_an_event_whose_delivery_cannot_be_stored_is_not_stored(
        self, store: Store
    ) -> None:
        """R2: an event and its deliveries are one transaction."""
        bad, good = event(), event()
        no_kind = NewDelivery("neither", "a", 1)  # type: ignore[arg-type]
        results = await asyncio.gather(
            store.record(event(), [handler()]),
            store.record(bad, [handler(), no_kind]),
            store.record(good, [handler()]),
            return_exceptions=True,
        )
        assert [isinstance(each, StoreError) for each in results] == [False, True, False]
        assert await store.event(bad.id) is None
        assert await store.event(good.id) is not None
        assert await store.count_states() == {State.PENDING: 2}

    async def test_what_looked_like_a_duplicate_of_a_refused_event_is_the_event(
        self, store: Store
    ) -> None:
        """The first of two equal ones fails, in the transaction that both share."""
        bad, good = event(key="same"), event(key="same")
        no_kind = NewDelivery("neither", "a", 1)  # type: ignore[arg-type]
        refused, recorded = await asyncio.gather(
            store.record(bad, [no_kind]),
            store.record(good, [handler()]),
            return_exceptions=True,
        )
        assert isinstance(refused, StoreError)
        assert not isinstance(recorded, BaseException)
        assert (recorded.event_id, recorded.is_duplicate) == (good.id, False)
        assert len(recorded.delivery_ids) == 1
        assert await store.event(good.id) is not None

    async def test_deliveries_recorded_as_claimed_run_at_attempt_1(self, store: Store) -> None:
        recorded = await store.record(event(), [handler()], claimed=True)
        (made,) = await store.deliveries_of(recorded.event_id)
        assert (made.state, made.attempts) == (State.RUNNING, 1)
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == []


class ClaimContract:
    """Claims, their ends, and giving them back."""

    async def test_a_claim_brings_the_event_and_counts_the_attempt(self, store: Store) -> None:
        new = event()
        recorded = await store.record(new, [handler(attempts=3)])

        claim = await claim_one(store)

        assert claim.delivery_id == recorded.delivery_ids[0]
        assert (claim.attempt, claim.tries, claim.max_attempts) == (1, 1, 3)
        assert claim.event.id == new.id
        assert claim.event.body == new.body
        assert await state_of(store, claim.delivery_id) is State.RUNNING

    async def test_what_is_claimed_is_given_to_nobody_else(self, store: Store) -> None:
        ids = {await record_one(store) for _ in range(10)}
        claimed = await asyncio.gather(*(store.claim({HANDLER: 2}, now_ms=FAR_MS) for _ in ids))
        assert sorted(each.delivery_id for some in claimed for each in some) == sorted(ids)

    async def test_no_more_than_wanted_and_only_of_that_name(self, store: Store) -> None:
        for name in ("a", "a", "a", "b"):
            await record_one(store, handler(name))
        assert len(await store.claim({"a": 2}, now_ms=FAR_MS)) == 2
        assert await store.due_names(["a", "b", "c"], now_ms=FAR_MS) == ["a", "b"]

    async def test_nothing_is_claimed_before_it_is_due(self, store: Store) -> None:
        moment = now_ms() + 60_000
        await record_one(store, received_ms=moment)
        assert await store.due_names([HANDLER], now_ms=moment - 1) == []
        assert await store.claim({HANDLER: 1}, now_ms=moment - 1) == []
        assert await store.due_names([HANDLER], now_ms=moment) == [HANDLER]
        assert len(await store.claim({HANDLER: 1}, now_ms=moment)) == 1

    async def test_a_plain_success_is_recorded_with_its_attempt(self, store: Store) -> None:
        delivery_id = await record_one(store)
        ended = end(await claim_one(store))
        await finish(store, ended)

        found = await store.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.attempts) == (State.SUCCEEDED, 1)
        assert found.finalized_at is not None
        (attempt,) = await store.attempts(delivery_id)
        assert (attempt.number, attempt.outcome) == (1, Outcome.DELIVERED)
        assert (attempt.started_at, attempt.duration_ms) == (from_ms(ended.started_ms), 1.5)

    async def test_a_retry_is_due_later_and_keeps_what_went_wrong(self, store: Store) -> None:
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        due = now_ms() + 30_000
        await finish(store, end(claim, State.RETRYING, due_ms=due, traceback="Traceback …",
                                status_code=503))  # fmt: skip

        found = await store.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.due_at, found.finalized_at) == (
            State.RETRYING, from_ms(due), None,
        )  # fmt: skip
        (attempt,) = await store.attempts(delivery_id)
        assert (attempt.outcome, attempt.error_class, attempt.error) == (
            Outcome.TRANSIENT, "ValueError", "no such source",
        )  # fmt: skip
        assert (attempt.traceback, attempt.status_code) == ("Traceback …", 503)
        assert await store.claim({HANDLER: 1}, now_ms=due - 1) == []
        again = await claim_one(store, at_ms=due)
        assert (again.attempt, again.tries) == (2, 2)

    async def test_the_attempt_after_an_unknown_one_is_a_possible_duplicate(
        self, store: Store
    ) -> None:
        delivery_id = await record_one(store)
        await finish(store, end(await claim_one(store), State.RETRYING, outcome=Outcome.UNKNOWN))
        await finish(store, end(await claim_one(store)))
        flags = [each.possible_duplicate for each in await store.attempts(delivery_id)]
        assert flags == [False, True]

    async def test_what_a_success_staged_commits_with_it(self, store: Store) -> None:
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, messages=(StagedMessage(MESSAGE, (OPS, MAIL)),),
                                values={"median": "[1, 2]", "gone": None}))  # fmt: skip

        of_event = await store.deliveries_of(claim.event.id)
        assert [(each.kind, each.name, each.state) for each in of_event] == [
            ("handler", HANDLER, State.SUCCEEDED),
            ("target", "ops/1-slack", State.PENDING),
            ("target", "ops/2-mailto", State.PENDING),
        ]
        assert await store.value(HANDLER, "median") == "[1, 2]"
        assert await store.value("another", "median") is None
        sent = await claim_one(store, "ops/1-slack")
        assert sent.message == MESSAGE
        assert (sent.event.id, sent.max_attempts) == (claim.event.id, 5)
        assert delivery_id == of_event[0].id

    async def test_values_are_replaced_and_deleted(self, store: Store) -> None:
        for value, expected in (("1", "1"), ("2", "2"), (None, None)):
            await record_one(store)
            await finish(store, end(await claim_one(store), values={"n": value}))
            assert await store.value(HANDLER, "n") == expected

    @pytest.mark.parametrize("state", [State.RETRYING, State.DEAD])
    async def test_what_a_failure_staged_is_never_sent(self, store: Store, state: State) -> None:
        await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, state, messages=(StagedMessage(MESSAGE, (OPS,)),),
                                values={"n": "1"}))  # fmt: skip
        assert len(await store.deliveries_of(claim.event.id)) == 1
        assert await store.value(HANDLER, "n") is None

    async def test_an_end_that_cannot_be_stored_leaves_nothing_of_itself(
        self, store: Store
    ) -> None:
        await record_one(store)
        claim = await claim_one(store)
        no_kind = NewDelivery("target", "ops/1", None)  # type: ignore[arg-type]
        with pytest.raises(StoreError):
            await finish(store, end(claim, messages=(StagedMessage(MESSAGE, (OPS, no_kind)),),
                                    values={"n": "1"}))  # fmt: skip
        assert await state_of(store, claim.delivery_id) is State.RUNNING
        assert await store.attempts(claim.delivery_id) == []
        assert await store.value(HANDLER, "n") is None
        assert await store.count_states() == {State.RUNNING: 1}

    @pytest.mark.parametrize("is_plain", [True, False])
    async def test_an_end_counts_once(self, store: Store, is_plain: bool) -> None:
        """Also in one transaction with the first."""
        await record_one(store)
        claim = await claim_one(store)
        ended = end(claim, reason=None if is_plain else "skipped: nothing to do")
        results = await asyncio.gather(
            *(finish(store, ended._replace(started_ms=ended.started_ms + n)) for n in range(3)),
            return_exceptions=True,
        )
        assert [isinstance(each, LeaseLost) for each in results] == [False, True, True]
        assert len(await store.attempts(claim.delivery_id)) == 1

    async def test_released_claims_were_no_attempts(self, store: Store) -> None:
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        due = now_ms() + 90_000
        await store.release([claim.delivery_id], due_ms=due)

        found = await store.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.attempts, found.due_at) == (State.PENDING, 0, from_ms(due))
        assert (await claim_one(store)).attempt == 1
        assert await store.attempts(delivery_id) == []

    async def test_one_released_after_a_failure_is_still_retrying(self, store: Store) -> None:
        delivery_id = await record_one(store)
        await finish(store, end(await claim_one(store), State.RETRYING))
        await store.release([(await claim_one(store)).delivery_id])
        assert await state_of(store, delivery_id) is State.RETRYING

    async def test_the_end_of_a_released_claim_is_void(self, store: Store) -> None:
        await record_one(store)
        claim = await claim_one(store)
        await store.release([claim.delivery_id])
        with pytest.raises(LeaseLost, match="result is void"):
            await finish(store, end(claim))
        assert await state_of(store, claim.delivery_id) is State.PENDING


class KeyContract:
    """Deliveries with one name and one key run in order of arrival, one at a time."""

    async def test_only_the_oldest_unfinished_is_given_out(self, store: Store) -> None:
        ids = [await record_one(store, handler(key="7")) for _ in range(3)]
        other = await record_one(store, handler(key="8"))
        for delivery_id in ids:
            claims = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
            assert sorted(each.delivery_id for each in claims if each.key == "7") == [delivery_id]
            for claim in claims:
                await finish(store, end(claim))
        assert await state_of(store, other) is State.SUCCEEDED

    async def test_the_order_holds_within_one_transaction(self, store: Store) -> None:
        recorded = await asyncio.gather(
            *(store.record(event(), [handler(key="7")]) for _ in range(5))
        )
        for each in recorded:
            (claim,) = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
            assert claim.delivery_id == each.delivery_ids[0]
            await finish(store, end(claim))

    async def test_a_retrying_head_holds_its_key_back(self, store: Store) -> None:
        first, second = [await record_one(store, handler(key="7")) for _ in range(2)]
        await finish(store, end(await claim_one(store), State.RETRYING, due_ms=FAR_MS + 1))
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == []
        head = await claim_one(store, at_ms=FAR_MS + 1)
        assert head.delivery_id == first
        await finish(store, end(head, State.DEAD))
        assert (await claim_one(store)).delivery_id == second

    async def test_discarding_the_head_passes_the_turn(self, store: Store) -> None:
        first, second = [await record_one(store, handler(key="7")) for _ in range(2)]
        assert await store.discard([first], reason="no", now_ms=now_ms()) == [first]
        assert (await claim_one(store)).delivery_id == second

    async def test_discarding_one_that_waits_changes_no_turn(self, store: Store) -> None:
        first, second, third = [await record_one(store, handler(key="7")) for _ in range(3)]
        head = await claim_one(store)
        await store.discard([second], reason="no", now_ms=now_ms())
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == []
        await finish(store, end(head))
        assert (head.delivery_id, (await claim_one(store)).delivery_id) == (first, third)

    async def test_a_revived_one_waits_for_its_turn(self, store: Store) -> None:
        first, second = [await record_one(store, handler(key="7")) for _ in range(2)]
        await finish(store, end(await claim_one(store), State.DEAD))
        await store.retry([first], now_ms=now_ms())
        head = await claim_one(store)
        assert head.delivery_id == second
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == []
        await finish(store, end(head))
        assert (await claim_one(store)).delivery_id == first

    async def test_a_replay_waits_for_its_turn(self, store: Store) -> None:
        new = event()
        await store.record(new, [handler(key="7")])
        await store.replay(author="me", selection="all", deliveries=[(new.id, [handler(key="7")])])
        (head,) = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
        assert head.replay_id is None
        await finish(store, end(head))
        assert (await claim_one(store)).replay_id is not None

    async def test_the_turn_passes_when_the_head_dies_with_its_worker(
        self, store: Store, survivor: Survivor
    ) -> None:
        first, second = [await record_one(store, handler(key="7", attempts=1)) for _ in range(2)]
        await claim_one(store)
        after = await survivor(store)
        assert await state_of(after, first) is State.DEAD
        assert (await claim_one(after)).delivery_id == second


class SteppingAsideContract:
    """Deliveries of a key that let the next one run while they wait for a retry."""

    ASIDE = handler(key="7", steps_aside=True)

    async def test_while_one_waits_for_its_retry_the_next_run_in_order(self, store: Store) -> None:
        first, second, third = [await record_one(store, self.ASIDE) for _ in range(3)]
        await finish(store, end(await claim_one(store), State.RETRYING, due_ms=FAR_MS + 9))
        for expected in (second, third):
            (claim,) = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
            assert claim.delivery_id == expected
            await finish(store, end(claim))
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == []
        assert (await claim_one(store, at_ms=FAR_MS + 9)).delivery_id == first

    async def test_a_retry_that_is_due_waits_until_the_running_one_ends(self, store: Store) -> None:
        first, second, third = [await record_one(store, self.ASIDE) for _ in range(3)]
        await finish(store, end(await claim_one(store), State.RETRYING, due_ms=FAR_MS + 9))
        head = await claim_one(store)
        assert head.delivery_id == second
        assert await store.retry([first], now_ms=now_ms()) == [first]
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS) == [], "never two of one key"
        await finish(store, end(head))
        head = await claim_one(store)
        assert head.delivery_id == first, "it is older than the third, and due"
        await finish(store, end(head))
        assert (await claim_one(store)).delivery_id == third

    async def test_one_that_comes_while_the_only_other_waits_for_its_retry_runs(
        self, store: Store
    ) -> None:
        first = await record_one(store, self.ASIDE)
        await finish(store, end(await claim_one(store), State.RETRYING, due_ms=FAR_MS + 9))
        second = await record_one(store, self.ASIDE)
        assert (await claim_one(store)).delivery_id == second
        assert await store.claim({HANDLER: 9}, now_ms=FAR_MS + 9) == []
        assert await store.discard([first], reason="no", now_ms=now_ms()) == [first]

    async def test_a_duplicate_passes_no_turn_and_makes_no_delivery(self, store: Store) -> None:
        new = event()
        await store.record(new, [self.ASIDE])
        await finish(store, end(await claim_one(store), State.RETRYING, due_ms=FAR_MS + 9))
        answers = await asyncio.gather(
            *(store.record(event()._replace(dedupe_key=new.dedupe_key), [self.ASIDE])
              for _ in range(3)),
            store.record(event(), [self.ASIDE]),
        )  # fmt: skip
        assert [each.is_duplicate for each in answers] == [True, True, True, False]
        assert {each.event_id for each in answers[:3]} == {new.id}
        (claim,) = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
        assert claim.delivery_id == answers[3].delivery_ids[0]

    async def test_without_a_key_there_is_nothing_to_step_aside_for(self, store: Store) -> None:
        ids = [await record_one(store, handler(steps_aside=True)) for _ in range(2)]
        claims = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
        assert [each.delivery_id for each in claims] == ids

    async def test_a_retry_by_hand_takes_the_turn_from_one_that_is_not_due(
        self, store: Store
    ) -> None:
        first, second = [await record_one(store, self.ASIDE) for _ in range(2)]
        for due_ms in (FAR_MS + 9, FAR_MS + 5):
            await finish(store, end(await claim_one(store), State.RETRYING, due_ms=due_ms))
        assert await store.retry([first], now_ms=now_ms()) == [first]
        (claim,) = await store.claim({HANDLER: 9}, now_ms=FAR_MS)
        assert claim.delivery_id == first
        await finish(store, end(claim))
        assert (await claim_one(store, at_ms=FAR_MS + 5)).delivery_id == second


class DeathContract:
    """A worker that died, and what people do by hand."""

    async def test_what_a_dead_worker_ran_is_tried_again(
        self, store: Store, survivor: Survivor
    ) -> None:
        delivery_id = await record_one(store)
        old = await claim_one(store)
        after = await survivor(store)

        found = await after.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.attempts) == (State.RETRYING, 1)
        (attempt,) = await after.attempts(delivery_id)
        assert (attempt.outcome, attempt.error_class) == (Outcome.UNKNOWN, "WorkerDied")
        with pytest.raises(LeaseLost):
            await finish(after, end(old))
        await finish(after, end(await claim_one(after)))
        assert (await after.attempts(delivery_id))[1].possible_duplicate

    async def test_one_that_kills_its_worker_every_time_is_dead_at_last(
        self, store: Store, survivor: Survivor
    ) -> None:
        delivery_id = await record_one(store, handler(attempts=2))
        for number in (1, 2):
            assert (await claim_one(store)).attempt == number
            store = await survivor(store)
        found = await store.delivery(delivery_id)
        assert found is not None
        assert found.state is State.DEAD
        assert found.reason == (
            "the process that ran it died or stood still before it finished, at attempt 2 of 2"
        )

    async def test_what_was_handed_over_claimed_is_rescued_too(
        self, store: Store, survivor: Survivor
    ) -> None:
        recorded = await store.record(event(), [handler()], claimed=True)
        after = await survivor(store)
        assert (await claim_one(after)).delivery_id == recorded.delivery_ids[0]

    async def test_a_heartbeat_takes_nothing_from_the_living(self, store: Store) -> None:
        await record_one(store)
        claim = await claim_one(store)
        assert await store.heartbeat() == 0
        await finish(store, end(claim))

    async def test_retry_by_hand_starts_the_schedule_anew(self, store: Store) -> None:
        delivery_id = await record_one(store, handler(attempts=1))
        await finish(store, end(await claim_one(store), State.DEAD))
        assert await store.retry([delivery_id, 5], now_ms=now_ms()) == [delivery_id]

        claim = await claim_one(store)
        assert (claim.attempt, claim.tries) == (2, 1)
        await store.release([claim.delivery_id])
        assert await state_of(store, delivery_id) is State.PENDING

    async def test_a_claim_tells_its_age_from_its_making_or_its_last_revival(
        self, store: Store
    ) -> None:
        made_ms = now_ms() - 60_000
        delivery_id = await record_one(store, received_ms=made_ms)
        claim = await claim_one(store)
        assert claim.since_ms == made_ms
        await finish(store, end(claim, State.RETRYING, due_ms=now_ms()))
        await store.retry([delivery_id], now_ms=now_ms())
        claim = await claim_one(store)
        assert claim.since_ms == made_ms, "it was made due, not revived"

        await finish(store, end(claim, State.DEAD))
        revived_ms = now_ms()
        await store.retry([delivery_id], now_ms=revived_ms)
        assert (await claim_one(store)).since_ms == revived_ms

    async def test_retry_makes_a_waiting_one_due_and_leaves_others(self, store: Store) -> None:
        waiting, running, done = [await record_one(store, handler(name)) for name in "abc"]
        await finish(store, end(await claim_one(store, "a"), State.RETRYING, due_ms=FAR_MS))
        await claim_one(store, "b")
        await finish(store, end(await claim_one(store, "c")))

        changed = await store.retry([waiting, running, done], now_ms=now_ms())

        assert changed == [waiting]
        assert await store.due_names(["a"], now_ms=now_ms()) == ["a"]

    async def test_discard_cancels_all_but_what_runs_or_succeeded(self, store: Store) -> None:
        states = {}
        for name, state in (("a", None), ("b", State.RETRYING), ("c", State.DEAD),
                            ("d", State.SUCCEEDED)):  # fmt: skip
            states[await record_one(store, handler(name))] = state
            if state is not None:
                await finish(store, end(await claim_one(store, name), state))
        running = await record_one(store, handler("e"))
        await claim_one(store, "e")

        changed = await store.discard([*states, running], reason="by hand", now_ms=now_ms())

        assert len(changed) == 3
        for delivery_id in changed:
            found = await store.delivery(delivery_id)
            assert found is not None
            assert (found.state, found.reason) == (State.CANCELLED, "by hand")
            assert found.finalized_at is not None
        assert await state_of(store, running) is State.RUNNING
        assert await store.count_states() == {
            State.CANCELLED: 3, State.SUCCEEDED: 1, State.RUNNING: 1,
        }  # fmt: skip

    async def test_no_end_leads_out_of_a_state_that_the_table_does_not_allow(
        self, store: Store
    ) -> None:
        """A delivery that does not run can't be ended."""
        for start in (State.SUCCEEDED, State.DEAD, State.RETRYING):
            await record_one(store, handler(start.value))
            claim = await claim_one(store, start.value)
            await finish(store, end(claim, start))
            for target in (State.SUCCEEDED, State.RETRYING, State.DEAD):
                assert target not in MOVES[start]
                with pytest.raises(LeaseLost):
                    await finish(store, end(claim, target, started_ms=0))
            assert await state_of(store, claim.delivery_id) is start


class Obituaries:
    """What is asked and told when deliveries become dead; each is told to `ops.tell`."""

    def __init__(self, store: Store, *, key: str | None = None) -> None:
        self.asked: list[DeadDelivery] = []
        self.told: list[int] = []
        self.events: list[NewEvent] = []
        self._key = key
        store.on_dead, store.on_dead_told = self._tell, self.told.append

    def _tell(self, dead: DeadDelivery) -> tuple[NewEvent, list[NewDelivery]] | None:
        self.asked.append(dead)
        if dead.source == INTERNAL_SOURCE:
            return None
        new = event(source=INTERNAL_SOURCE, type="clarihook.delivery.dead")
        self.events.append(new)
        return new, [handler("ops.tell", attempts=1, key=self._key)]


class DeadContract:
    """The event that tells of a dead delivery is there as soon as that is dead."""

    async def test_a_last_failure_is_told_with_its_facts(self, store: Store) -> None:
        told = Obituaries(store)
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, State.DEAD))

        assert told.asked == [
            DeadDelivery(
                delivery_id, "handler", HANDLER, claim.event.id, claim.event.type, "claribi", 1,
                "no such source", "ValueError", "no such source", None,
            )
        ]  # fmt: skip
        assert told.told == [1]
        (new,) = told.events
        stored = await store.event(new.id)
        assert stored is not None
        assert (stored.body, stored.source, stored.type) == (new.body, new.source, new.type)
        ours = await claim_one(store, "ops.tell")
        assert (ours.event.id, ours.attempt) == (new.id, 1)

    async def test_a_dead_message_is_told_with_its_channel(self, store: Store) -> None:
        told = Obituaries(store)
        await record_one(store)
        await finish(store, end(await claim_one(store), messages=(StagedMessage(MESSAGE, (OPS,)),)))
        await finish(store, end(await claim_one(store, OPS.name), State.DEAD))
        (dead,) = told.asked
        assert (dead.kind, dead.name, dead.channel) == ("target", OPS.name, "ops")

    async def test_what_dies_with_its_worker_is_told(
        self, store: Store, survivor: Survivor
    ) -> None:
        told = Obituaries(store)
        delivery_id = await record_one(store, handler(attempts=1))
        await claim_one(store)
        after = await survivor(store)
        (dead,) = told.asked
        assert (dead.delivery_id, dead.attempts, dead.error_class) == (delivery_id, 1, "WorkerDied")
        assert (await claim_one(after, "ops.tell")).event.id == told.events[0].id

    async def test_what_is_rescued_alive_is_not_told(
        self, store: Store, survivor: Survivor
    ) -> None:
        told = Obituaries(store)
        await record_one(store, handler(attempts=2))
        await claim_one(store)
        await survivor(store)
        assert told.asked == []

    async def test_an_end_that_is_void_is_not_told(self, store: Store) -> None:
        told = Obituaries(store)
        await record_one(store)
        claim = await claim_one(store)
        await store.release([claim.delivery_id])
        with pytest.raises(LeaseLost):
            await finish(store, end(claim, State.DEAD))
        assert (told.asked, told.told) == ([], [])

    async def test_of_many_ends_at_once_each_dead_one_is_told(self, store: Store) -> None:
        told = Obituaries(store)
        claims = []
        for name in "abcdefgh":
            await record_one(store, handler(name))
            claims.append(await claim_one(store, name))
        states = [State.DEAD, State.RETRYING, State.SUCCEEDED, State.DEAD] * 2
        await asyncio.gather(
            *(finish(store, end(claim, state)) for claim, state in zip(claims, states, strict=True))
        )
        assert sorted(dead.name for dead in told.asked) == ["a", "d", "e", "h"]
        assert sum(told.told) == 4
        assert len(await store.claim({"ops.tell": 9}, now_ms=FAR_MS)) == 4

    async def test_no_event_of_the_dead_is_left_of_an_end_that_cannot_be_stored(
        self, store: Store
    ) -> None:
        """One transaction: either the delivery is dead and told of, or neither."""
        told = Obituaries(store)
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        with pytest.raises(StoreError):
            await finish(store, end(claim, State.DEAD, traceback="caf\udce9"))
        assert await state_of(store, delivery_id) is State.RUNNING
        assert (told.told, await store.count_events(EventFilter())) == ([], 1)
        await finish(store, end(claim, State.DEAD))
        assert (told.told, await store.count_events(EventFilter())) == ([1], 2)

    async def test_an_event_that_cannot_be_stored_takes_its_delivery_with_it(
        self, store: Store
    ) -> None:
        Obituaries(store)
        good = store.on_dead
        new = event()
        store.on_dead = lambda _dead: (new, [NewDelivery("neither", "a", 1)])  # type: ignore[arg-type]
        delivery_id = await record_one(store)
        claim = await claim_one(store)
        with pytest.raises(StoreError):
            await finish(store, end(claim, State.DEAD))
        assert await state_of(store, delivery_id) is State.RUNNING
        assert await store.event(new.id) is None
        store.on_dead = good
        await finish(store, end(claim, State.DEAD))
        assert await state_of(store, delivery_id) is State.DEAD

    async def test_who_fails_to_tell_keeps_nothing_alive(self, store: Store) -> None:
        def fail(_dead: DeadDelivery) -> None:
            raise RuntimeError("a bug")

        store.on_dead = fail
        delivery_id = await record_one(store)
        await finish(store, end(await claim_one(store), State.DEAD))
        assert await state_of(store, delivery_id) is State.DEAD
        assert await store.count_events(EventFilter()) == 1

    async def test_of_what_tells_of_the_dead_nothing_is_told(self, store: Store) -> None:
        told = Obituaries(store)
        await record_one(store)
        await finish(store, end(await claim_one(store), State.DEAD))
        await finish(store, end(await claim_one(store, "ops.tell"), State.DEAD))
        assert (len(told.asked), told.told) == (2, [1])
        assert await store.count_events(EventFilter()) == 2

    async def test_one_that_dies_again_is_told_again(self, store: Store) -> None:
        told = Obituaries(store)
        delivery_id = await record_one(store)
        await finish(store, end(await claim_one(store), State.DEAD))
        await store.retry([delivery_id], now_ms=now_ms())
        await finish(store, end(await claim_one(store), State.DEAD))
        assert [dead.attempts for dead in told.asked] == [1, 2]
        assert told.told == [1, 1]

    async def test_its_deliveries_wait_for_their_key(self, store: Store) -> None:
        Obituaries(store, key="7")
        for _ in range(2):
            await record_one(store)
            await finish(store, end(await claim_one(store), State.DEAD))
        (head,) = await store.claim({"ops.tell": 9}, now_ms=FAR_MS)
        await finish(store, end(head))
        await claim_one(store, "ops.tell")

    async def test_what_a_quiet_replay_kills_is_not_told(self, store: Store) -> None:
        """It is a rehearsal, and whoever runs it looks on."""
        told = Obituaries(store)
        new = event()
        await store.record(new, [])
        for is_quiet in (True, False):
            await store.replay(
                author="me", selection="it", deliveries=[(new.id, [handler()])], is_quiet=is_quiet
            )
            await finish(store, end(await claim_one(store), State.DEAD))
        assert len(told.asked) == 1


class FallbackContract:
    """A message whose delivery to a target is dead goes to the fallback's targets, once."""

    BACKUP = NewDelivery("target", "backup/1-mailto", 2)

    async def sent_to(self, store: Store, *targets: NewDelivery) -> str:
        """The event of a message to these targets."""
        await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, messages=(StagedMessage(MESSAGE, targets),)))
        return claim.event.id

    async def names(self, store: Store, event_id: str) -> list[str]:
        return [each.name for each in await store.deliveries_of(event_id)][1:]

    async def test_it_is_there_as_soon_as_the_delivery_is_dead(self, store: Store) -> None:
        told: list[int] = []
        store.fall_back = {OPS.name: [self.BACKUP]}.get  # type: ignore[assignment]
        store.on_dead_told = told.append
        event_id = await self.sent_to(store, OPS)
        dead = await claim_one(store, OPS.name)
        await finish(store, end(dead, State.DEAD))
        fallback = await claim_one(store, self.BACKUP.name)
        assert (fallback.message, fallback.note) == (MESSAGE, f"{OPS.name} did not take this")
        assert (fallback.event.id, fallback.max_attempts) == (event_id, 2)
        assert (await store.deliveries_of(event_id))[-1].fallback_of == dead.delivery_id
        assert told == [1]

    async def test_each_target_gets_it_once_however_many_die(self, store: Store) -> None:
        store.fall_back = lambda _name: [self.BACKUP]
        event_id = await self.sent_to(store, OPS, MAIL)
        for name in (OPS.name, MAIL.name):
            await finish(store, end(await claim_one(store, name), State.DEAD))
        await store.retry([(await store.deliveries_of(event_id))[1].id], now_ms=now_ms())
        await finish(store, end(await claim_one(store, OPS.name), State.DEAD))
        assert await self.names(store, event_id) == [OPS.name, MAIL.name, self.BACKUP.name]

    async def test_a_circle_comes_to_an_end(self, store: Store) -> None:
        """The settings refuse one; a database may have been used with others."""
        store.fall_back = {OPS.name: [self.BACKUP], self.BACKUP.name: [OPS]}.get  # type: ignore[assignment]
        event_id = await self.sent_to(store, OPS)
        await finish(store, end(await claim_one(store, OPS.name), State.DEAD))
        await finish(store, end(await claim_one(store, self.BACKUP.name), State.DEAD))
        assert await self.names(store, event_id) == [OPS.name, self.BACKUP.name]

    async def test_it_goes_on_when_the_worker_dies(self, store: Store, survivor: Survivor) -> None:
        store.fall_back = lambda _name: [self.BACKUP]
        await self.sent_to(store, OPS._replace(max_attempts=1))
        await claim_one(store, OPS.name)
        after = await survivor(store)
        fallback = await claim_one(after, self.BACKUP.name)
        assert fallback.note == f"{OPS.name} did not take this"

    async def test_what_is_no_message_has_none(self, store: Store) -> None:
        store.fall_back = lambda _name: [self.BACKUP]
        await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, State.DEAD))
        assert await self.names(store, claim.event.id) == []

    async def test_a_void_end_has_none(self, store: Store) -> None:
        store.fall_back = lambda _name: [self.BACKUP]
        event_id = await self.sent_to(store, OPS)
        claim = await claim_one(store, OPS.name)
        await store.release([claim.delivery_id])
        with pytest.raises(LeaseLost):
            await finish(store, end(claim, State.DEAD))
        assert await self.names(store, event_id) == [OPS.name]


class ReplayContract:
    """New deliveries of old events."""

    async def test_a_replay_runs_behind_live_deliveries(self, store: Store) -> None:
        old = event(received_ms=now_ms() - 60_000)
        await store.record(old, [])
        replay_id = await store.replay(
            author="ada", selection="the old one", deliveries=[(old.id, [handler()])]
        )
        live = await record_one(store)

        first, second = [await claim_one(store) for _ in range(2)]

        assert first.delivery_id == live
        assert (second.replay_id, second.event.id) == (replay_id, old.id)
        await finish(store, end(second, messages=(StagedMessage(MESSAGE, (OPS,)),)))
        assert (await claim_one(store, OPS.name)).replay_id == replay_id
        found = await store.find_replay(replay_id)
        assert found is not None
        assert (found.author, found.selection, found.events) == ("ada", "the old one", 1)
        assert found.states == {State.SUCCEEDED: 1, State.RUNNING: 1}
        assert await store.count_in_line(replay_id) == 1, "of this replay, and not of the live one"

    async def test_a_claim_takes_at_most_so_many_replays(self, store: Store) -> None:
        for _ in range(2):
            await record_one(store)
        old = [event() for _ in range(5)]
        for each in old:
            await store.record(each, [])
        await store.replay(
            author="a", selection="s", deliveries=[(each.id, [handler()]) for each in old]
        )

        async def claimed(replays: dict[str, int]) -> list[bool]:
            claims = await store.claim({HANDLER: 4}, now_ms=FAR_MS, replays=replays)
            return [claim.replay_id is not None for claim in claims]

        assert await claimed({HANDLER: 1}) == [False, False, True]
        assert await claimed({}) == []
        assert await claimed({HANDLER: 0}) == []
        assert await claimed({HANDLER: 3}) == [True, True, True]
        (last,) = await store.claim({HANDLER: 4}, now_ms=FAR_MS)
        assert last.replay_id is not None

    async def test_a_replay_in_parts_takes_each_part_once(self, store: Store) -> None:
        events = [event() for _ in range(2)]
        for each in events:
            await store.record(each, [])
        replay_id = await store.replay(author="ada", selection="two", rest="both")
        parts = [(events[0].id, [handler()])], [(events[1].id, [handler()])]

        results = [
            await store.extend_replay(replay_id, was="both", rest="one", deliveries=parts[0]),
            await store.extend_replay(replay_id, was="both", rest="one", deliveries=parts[0]),
            await store.extend_replay(replay_id, was="one", rest=None, deliveries=parts[1]),
            await store.extend_replay(replay_id, was="one", rest=None, deliveries=parts[1]),
        ]

        assert results == [True, False, True, False]
        (found,) = await store.replays(limit=5)
        assert (found.id, found.events, found.rest) == (replay_id, 2, None)
        assert found.states == {State.PENDING: 2}
        assert await store.count_in_line(replay_id) == 2

    async def test_a_replay_is_abandoned_once_nobody_adds_to_it(self, store: Store) -> None:
        """Whoever adds says so with each part, or with the same again while it waits."""
        replay_id = await store.replay(author="a", selection="s", rest="all", now_ms=1_000)
        await store.replay(author="a", selection="added at once", now_ms=1_000)

        assert await store.abandoned_replays(before_ms=1_000) == []
        assert await store.abandoned_replays(before_ms=1_001) == [replay_id]
        await store.extend_replay(replay_id, was="all", rest="all", now_ms=2_000)
        assert await store.abandoned_replays(before_ms=2_000) == []
        taken = [
            await store.take_over_replay(replay_id, before_ms=2_500, now_ms=2_600) for _ in range(2)
        ]
        assert taken == [True, False], "only one process takes it over"
        assert await store.abandoned_replays(before_ms=2_600) == []
        await store.extend_replay(replay_id, was="all", rest="none", is_open=False, now_ms=3_000)
        assert await store.abandoned_replays(before_ms=FAR_MS) == []

    async def test_a_message_is_sent_again_as_it_was(self, store: Store) -> None:
        event_id, message_id = await say(store)
        again = OPS._replace(message_id=message_id)

        replay_id = await store.replay(author="a", selection="s", deliveries=[(event_id, [again])])

        claim = await claim_one(store, OPS.name)
        assert (claim.message, claim.replay_id, claim.event.id) == (MESSAGE, replay_id, event_id)

    async def test_what_a_quiet_replay_says_is_kept_and_not_sent(self, store: Store) -> None:
        new = event()
        await store.record(new, [])
        replay_id = await store.replay(
            author="a", selection="s", deliveries=[(new.id, [handler()])], is_quiet=True
        )
        found = await store.find_replay(replay_id)
        assert found is not None
        assert found.is_quiet

        claim = await claim_one(store)
        await finish(store, end(claim, messages=(StagedMessage(MESSAGE, (OPS, MAIL)),)))

        assert await store.claim({OPS.name: 1, MAIL.name: 1}, now_ms=FAR_MS) == []
        _, ops, mail = await store.deliveries_of(new.id)
        assert (ops.state, mail.state) == (State.CANCELLED, State.CANCELLED)
        assert ops.reason == f"shown, not sent: replay {replay_id} runs with --no-notify"
        assert ops.finalized_at is not None

    async def test_the_latest_messages_are_those_of_the_latest_run_that_sent_any(
        self, store: Store
    ) -> None:
        event_id, first = await say(store)
        other_id, other = await say(store)

        async def found() -> list[tuple[int, str, State]]:
            latest = (await store.latest_messages([event_id]))[event_id]
            assert {(said.handler, said.channel) for said in latest} == {(HANDLER, "ops")}
            return [(said.message_id, said.target, said.state) for said in latest]

        assert await found() == [(first, OPS.name, State.DEAD), (first, MAIL.name, State.PENDING)]
        # A trial says nothing to anybody, so the first message still counts.
        trial = await rerun(store, event_id, is_quiet=True)
        assert [(each, state) for each, _, state in await found()] == [
            (first, State.DEAD), (first, State.PENDING),
            (trial, State.CANCELLED), (trial, State.CANCELLED),
        ]  # fmt: skip
        again = OPS._replace(message_id=first)
        await store.replay(author="a", selection="s", deliveries=[(event_id, [again])])
        assert (first, OPS.name, State.PENDING) in await found()
        assert (first, OPS.name, State.DEAD) not in await found()
        second = await rerun(store, event_id)
        assert {each for each, _, _ in await found()} == {second}
        (said, _) = (await store.latest_messages([other_id]))[other_id]
        assert said.message_id == other

    async def test_events_are_selected_by_what_became_of_their_messages(self, store: Store) -> None:
        said, _ = await say(store)
        failed = event()
        await store.record(failed, [handler("other")])
        await finish(store, end(await claim_one(store, "other"), State.DEAD))

        async def found(**conditions: object) -> set[str]:
            which = EventFilter(**conditions)  # type: ignore[arg-type]
            some = await store.events(which, limit=10, newest=False)
            newest = await store.events(which, limit=10, newest=True)
            assert await store.count_events(which) == len(some)
            assert [each.id for each in newest] == [each.id for each in some][::-1]
            return {each.id for each in some}

        dead = [State.DEAD]
        assert await found(message_states=dead) == {said}
        assert await found(message_states=dead, states=dead) == {said, failed.id}
        assert await found(states=dead) == {failed.id}
        assert await found(message_states=dead, channel="ops") == {said}
        assert await found(message_states=dead, channel="finance") == set()
        assert await found(message_states=dead, names=[HANDLER]) == {said}
        assert await found(message_states=dead, names=["other"]) == set()
        assert await found(message_states=[State.SUCCEEDED]) == set()


async def say(store: Store) -> tuple[EventId, int]:
    """A new event, and the message that its handler said; dead at OPS, pending at MAIL."""
    new = event()
    await store.record(new, [handler()])
    return new.id, await _run_and_say(store)


async def rerun(store: Store, event_id: EventId, *, is_quiet: bool = False) -> int:
    """Replay the event at its handler; the message that it says then."""
    await store.replay(
        author="a", selection="s", deliveries=[(event_id, [handler()])], is_quiet=is_quiet
    )
    return await _run_and_say(store)


async def _run_and_say(store: Store) -> int:
    claim = await claim_one(store)
    await finish(store, end(claim, messages=(StagedMessage(MESSAGE, (OPS, MAIL)),)))
    *_, ops, mail = await store.deliveries_of(claim.event.id)
    if ops.state is State.PENDING:
        await finish(store, end(await claim_one(store, OPS.name), State.DEAD))
    assert mail.message_id is not None
    return mail.message_id


class QueryContract:
    """What people and commands look at."""

    async def test_events_are_selected_and_paged(self, store: Store) -> None:
        start = now_ms()
        new = [
            event(received_ms=start + n, type=type_, source=source)
            for n, (type_, source) in enumerate(
                [("a.one", "claribi"), ("a.two", "claribi"), ("b.one", "stripe"), ("a[1]", "x")]
            )
        ]
        for each in new:
            await store.record(each, [])
        ids = [each.id for each in new]

        async def found(**conditions: object) -> list[EventId]:
            which = EventFilter(**conditions)  # type: ignore[arg-type]
            some = await store.events(which, limit=10, newest=False)
            assert await store.count_events(which) == len(some)
            return [each.id for each in some]

        assert await found() == ids
        assert await found(types=["a.*"]) == ids[:2]
        assert await found(types=["a[1]"]) == ids[3:], "only the asterisk is special"
        assert await found(types=["a?one"]) == []
        assert await found(types=["*.one", "a.two"], sources=["claribi"]) == ids[:2]
        assert await found(since_ms=start + 1, until_ms=start + 3) == ids[1:3]
        assert await found(ids=[ids[2], "evt_none"]) == [ids[2]]
        assert await found(after=ids[1]) == ids[2:]
        newest = await store.events(EventFilter(), limit=3)
        assert [each.id for each in newest] == ids[:0:-1]
        page = await store.events(EventFilter(before=newest[-1].id), limit=3)
        assert [each.id for each in page] == ids[:1]
        own = event(received_ms=start + 9, type="clarihook.delivery.dead", source="clarihook")
        await store.record(own, [])
        assert await found() == [*ids, own.id]
        assert await found(with_own=False) == ids

    async def test_deliveries_are_selected_newest_first(self, store: Store) -> None:
        first, second, third = [await record_one(store, handler(n)) for n in ("a.x", "a.y", "b")]
        await claim_one(store, "a.x")

        async def found(**conditions: object) -> list[int]:
            which = DeliveryFilter(**conditions)  # type: ignore[arg-type]
            return [each.id for each in await store.deliveries(which, limit=10)]

        assert await found() == [third, second, first]
        assert await found(names=["a.*"]) == [second, first]
        assert await found(states=[State.RUNNING]) == [first]
        assert await found(ids=[first, 3]) == [first]
        assert await found(before=third) == [second, first]
        assert await found(after=first) == [third, second]
        assert await found(replay_id=1) == []

    async def test_counts_say_what_waits_and_for_whom(self, store: Store) -> None:
        for key in ("7", "7", "8"):
            await record_one(store, handler("keyed", key=key))
        await record_one(store, handler("plain"))
        assert await store.backlog() == 4
        assert await store.dead() == {}
        assert await store.waiting() == {"keyed": 3, "plain": 1}
        await claim_one(store, "plain")
        assert await store.backlog() == 3
        assert await store.waiting() == {"keyed": 3}
        assert await store.count_states() == {State.PENDING: 3, State.RUNNING: 1}
        await finish(store, end(await claim_one(store, "keyed"), State.DEAD))
        assert await store.dead() == {"keyed": 1}
        assert await store.waiting() == {"keyed": 2}

    async def test_an_events_latest_states_are_told_by_handler(self, store: Store) -> None:
        new = event()
        await store.record(new, [handler("a"), handler("b")])
        await finish(store, end(await claim_one(store, "a"), State.DEAD))
        assert await store.states_of_events([new.id]) == {new.id: {State.DEAD: 1, State.PENDING: 1}}
        await store.replay(author="me", selection="it", deliveries=[(new.id, [handler("a")])])
        assert await store.latest_handler_states([new.id]) == {
            new.id: {"a": State.PENDING, "b": State.PENDING}
        }

    async def test_rejections_are_kept_newest_first(self, store: Store) -> None:
        for number in range(3):
            await store.reject(
                Rejection(received_ms=number, source="claribi", status=401, reason="mismatch",
                          headers="a: b", body=b"\xff\x00", body_bytes=900)
            )  # fmt: skip
        newest = await store.rejections(limit=2)
        assert [each.received_ms for each in newest] == [2, 1]
        assert (newest[0].body, newest[0].body_bytes, newest[0].reason) == (
            b"\xff\x00", 900, "mismatch",
        )  # fmt: skip

    async def test_rejections_are_chosen_accepted_and_removed(self, store: Store) -> None:
        for number, (source, status) in enumerate([("a", 401), ("a", 400), ("b", 401)]):
            await store.reject(
                Rejection(received_ms=number, source=source, status=status, reason="why",
                          headers="", body=b"", body_bytes=0)
            )  # fmt: skip

        async def times(which: RejectionFilter) -> list[int]:
            return [each.received_ms for each in await store.rejections(which, limit=9)]

        assert await times(RejectionFilter(sources=["a*"])) == [1, 0]
        assert await times(RejectionFilter(statuses=[401], sources=["a"])) == [0]
        assert await times(RejectionFilter(since_ms=1, until_ms=2)) == [1]
        newest, *_ = await store.rejections(limit=1)
        assert newest.event_id is None
        await store.accept_rejection(newest.id, EventId("evt_one"))
        (accepted,) = await store.rejections(RejectionFilter(ids=[newest.id]), limit=9)
        assert accepted.event_id == "evt_one"
        assert await store.prune_rejections(before_ms=2) == 2
        assert await times(RejectionFilter()) == [2]

    async def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert await store.event("evt_none") is None
        assert await store.delivery(1) is None
        assert await store.message(1) is None
        assert await store.find_replay(1) is None
        assert await store.attempts(1) == []
        assert await store.value(HANDLER, "none") is None

    async def test_a_message_reads_back_without_its_files(self, store: Store) -> None:
        await record_one(store)
        claim = await claim_one(store)
        await finish(store, end(claim, messages=(StagedMessage(MESSAGE, (OPS,)),)))
        carried = (await store.deliveries_of(claim.event.id))[1]
        assert carried.message_id is not None
        shown = await store.message(carried.message_id)
        assert shown is not None
        assert (shown.title, shown.severity, shown.format, shown.attachments) == (
            "It failed ✗", Severity.CRITICAL, "html", (),
        )  # fmt: skip


class TokenContract:
    """Who may look into the console."""

    async def test_a_token_is_known_by_its_digest_until_it_is_revoked(self, store: Store) -> None:
        made = from_ms(1_000)
        ann = Token(name="ann", role=Role.OPERATOR, created_at=made)
        wall = Token(name="wall", role=Role.VIEWER, created_at=made, expires_at=from_ms(9_000))
        numbers = [await store.add_token(each, each.name.encode()) for each in (ann, wall)]

        first, second = await store.tokens()
        assert [first.id, second.id] == numbers
        assert first == replace(ann, id=first.id)
        assert second == replace(wall, id=second.id)
        assert await store.find_token(digest=b"ann") == first
        assert await store.find_token(number=second.id) == second
        assert await store.find_token(digest=b"bob") is None
        assert second.is_valid(from_ms(8_999))
        assert not second.is_valid(from_ms(9_000))

        await store.use_token(first.id, now_ms=2_000)
        assert await store.revoke_token(first.id, now_ms=3_000)
        assert not await store.revoke_token(first.id, now_ms=4_000)
        over = await store.find_token(digest=b"ann")
        assert over == replace(first, used_at=from_ms(2_000), revoked_at=from_ms(3_000))
        assert not over.is_valid(from_ms(3_500))

    async def test_of_those_that_count_each_has_a_name_of_its_own(self, store: Store) -> None:
        ann = Token(name="ann", role=Role.VIEWER, created_at=from_ms(1_000))
        first = await store.add_token(ann, b"1")
        assert first is not None
        assert await store.add_token(ann, b"2") is None
        await store.revoke_token(first, now_ms=2_000)
        assert await store.add_token(ann, b"3") is not None


class PeopleContract:
    """What waits for somebody."""

    async def test_escalations_and_the_dead_are_found_and_nothing_else(self, store: Store) -> None:
        later, sooner = (
            OPS._replace(hold=Hold("escalation", "waits", FAR_MS + 9 - n, f"incident {n}"))
            for n in (1, 2)
        )
        quiet = MAIL._replace(hold=Hold("quiet", "quiet hours", FAR_MS))
        await record_one(store)
        claim = await claim_one(store)
        staged = [StagedMessage(MESSAGE, (held,)) for held in (later, sooner, quiet)]
        await finish(store, end(claim, messages=tuple(staged)))
        dead = await record_one(store)
        await finish(store, end(await claim_one(store), State.DEAD, reason="no luck"))
        await record_one(store)

        found = await store.deliveries_for_people(limit=5)
        assert [(each.state, each.hold_group) for each in found] == [
            (State.DEAD, None),
            (State.HELD, "incident 2"),
            (State.HELD, "incident 1"),
        ]
        assert found[0].id == dead
        assert [each.id for each in await store.deliveries_for_people(limit=1)] == [
            dead,
            found[1].id,
        ]


class StoreContract(
    RecordContract,
    ClaimContract,
    KeyContract,
    SteppingAsideContract,
    DeathContract,
    DeadContract,
    FallbackContract,
    ReplayContract,
    QueryContract,
    TokenContract,
    PeopleContract,
):
    """All of it."""


__all__ = ["StoreContract", "Survivor"]
