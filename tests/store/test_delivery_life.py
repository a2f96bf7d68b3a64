"""The whole life of deliveries against a simple model (RELIABILITY.md B10).

Any sequence of what senders, workers, crashes and people do leaves the store where the model is,
moves each delivery only as `receiver.model.MOVES` allows, and keeps the invariants.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from life_model import START_MS, UNFINISHED, Known, Model, wall_ms
from store_data import MESSAGE, die, end, event, finish, handler

from receiver.errors import LeaseLost
from receiver.model import (
    FINAL_STATES,
    INTERNAL_SOURCE,
    MOVES,
    NewDelivery,
    NewEvent,
    State,
)
from receiver.store.base import Claim, DeadDelivery, DeliveryFilter, StagedMessage
from receiver.store.sqlite import SqliteStore

T = TypeVar("T")

NAMES = ["a", "b"]
KEYS = [None, "7", "8"]
TARGET = NewDelivery("target", "ops/1", 2)


class DeliveryLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="clarihook-life-"))
        self.runner = asyncio.Runner()
        self.model = Model()
        self.now_ms = START_MS
        self.claims: dict[int, Claim] = {}
        self.stale: list[Claim] = []
        """Claims that are no longer theirs who hold them."""
        self.last_states: dict[int, State] = {}
        self.store = self.do(self._opened())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _opened(self) -> SqliteStore:
        store = SqliteStore(self.folder / "life.db")
        store.on_dead = self._tell_of_dead
        await store.open()
        return store

    def _tell_of_dead(self, dead: DeadDelivery) -> tuple[NewEvent, list[NewDelivery]] | None:
        """On the writer's thread: what is dead is told to handler `a`, but not of that itself."""
        if dead.source == INTERNAL_SOURCE:
            return None
        new = event(source=INTERNAL_SOURCE, received_ms=self.now_ms)
        return new, [handler("a", attempts=2)]

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # -- senders --------------------------------------------------------------------------

    @rule(
        names=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        key=st.sampled_from(KEYS),
        attempts=st.integers(1, 3),
        is_claimed=st.booleans(),
        steps_aside=st.booleans(),
    )
    def receive(
        self,
        names: list[str],
        key: str | None,
        attempts: int,
        is_claimed: bool,
        steps_aside: bool,
    ) -> None:
        is_claimed = is_claimed and key is None
        message = f"message {len(self.model.events)}"
        new = event(key=message, received_ms=self.now_ms)
        made = [
            handler(name, attempts=attempts, key=key, steps_aside=steps_aside) for name in names
        ]
        recorded = self.do(self._record(new, made, claimed=is_claimed))
        assert not recorded.is_duplicate
        self.model.events[message] = new.id
        for delivery_id, name in zip(recorded.delivery_ids, names, strict=True):
            known = Known(name, key, due_ms=self.now_ms,
                          steps_aside=steps_aside and key is not None)  # fmt: skip
            self.model.add(delivery_id, known, self.now_ms)
            if is_claimed:
                known.state, known.attempts = State.RUNNING, 1
                self.claims[delivery_id] = self._claim(delivery_id, known)

    async def _record(self, *args: Any, **options: Any) -> Any:
        return await self.store.record(*args, **options)

    def _claim(self, delivery_id: int, known: Known) -> Claim:
        (stored,) = self.do(self.store.deliveries(DeliveryFilter(ids=[delivery_id]), limit=1))
        found = self.do(self.store.event(stored.event_id))
        assert found is not None
        return Claim(delivery_id=stored.id, name=known.name, event=found, attempt=1, tries=1,
                     max_attempts=stored.max_attempts, since_ms=self.now_ms)  # fmt: skip

    @precondition(lambda self: self.model.events)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(list(self.model.events)))
        recorded = self.do(self._record(event(key=message), [handler("a")]))
        assert (recorded.is_duplicate, recorded.event_id) == (True, self.model.events[message])
        self.model.duplicates += 1

    # -- workers --------------------------------------------------------------------------

    @rule(name=st.sampled_from([*NAMES, TARGET.name]), most=st.integers(1, 3))
    def claim(self, name: str, most: int) -> None:
        due = self.model.due(name, self.now_ms)
        names = self.do(self.store.due_names([name], now_ms=self.now_ms))
        assert names == ([name] if due else [])
        claims = self.do(self.store.claim({name: most}, now_ms=self.now_ms))
        expected = self.model.claimable(name, self.now_ms, most)
        assert sorted(each.delivery_id for each in claims) == sorted(expected)
        for each in claims:
            known = self.model.deliveries[each.delivery_id]
            known.state, known.attempts = State.RUNNING, known.attempts + 1
            assert (each.attempt, each.tries, each.key) == (
                known.attempts, known.attempts - known.forgiven, known.key,
            )  # fmt: skip
            self.claims[each.delivery_id] = each

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), says=st.booleans(), reason=st.none() | st.just("skipped"))
    def succeed(self, data: st.DataObject, says: bool, reason: str | None) -> None:
        claim = self._end_one(data)
        known = self.model.deliveries[claim.delivery_id]
        says = says and known.name in NAMES
        messages = (StagedMessage(MESSAGE, (TARGET,)),) if says else ()
        self.do(finish(self.store, end(claim, messages=messages, reason=reason)))
        self._finalize(known, State.SUCCEEDED)
        if says:
            staged = self.do(self.store.deliveries(DeliveryFilter(), limit=1000))
            (new,) = [each for each in staged if each.id not in self.model.deliveries]
            due_ms = round(new.due_at.timestamp() * 1000)
            self.model.add(new.id, Known(TARGET.name, None, due_ms=due_ms,
                                         is_replay=known.is_replay), self.now_ms)  # fmt: skip

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait_ms=st.integers(0, 10_000))
    def fail(self, data: st.DataObject, wait_ms: int) -> None:
        claim = self._end_one(data)
        due_ms = self.now_ms + wait_ms
        self.do(finish(self.store, end(claim, State.RETRYING, due_ms=due_ms)))
        known = self.model.deliveries[claim.delivery_id]
        known.state, known.due_ms = State.RETRYING, due_ms
        self.model.pass_turn(known, wall_ms())

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        claim = self._end_one(data)
        self.do(finish(self.store, end(claim, State.DEAD)))
        known = self.model.deliveries[claim.delivery_id]
        self._finalize(known, State.DEAD)
        self._expect_told(0 if known.is_told else 1)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait_ms=st.none() | st.integers(0, 10_000))
    def release(self, data: st.DataObject, wait_ms: int | None) -> None:
        claim = self._end_one(data)
        due_ms = None if wait_ms is None else self.now_ms + wait_ms
        self.do(self.store.release([claim.delivery_id], due_ms=due_ms))
        known = self.model.deliveries[claim.delivery_id]
        known.attempts -= 1
        is_new = known.attempts == known.forgiven
        known.state = State.PENDING if is_new else State.RETRYING
        if due_ms is not None:
            known.due_ms = due_ms
            if known.steps_aside:
                self.model.pass_turn(known, wall_ms())
        self.stale.append(claim)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), state=st.sampled_from([State.SUCCEEDED, State.RETRYING, State.DEAD]))
    def end_what_is_not_ones_own(self, data: st.DataObject, state: State) -> None:
        claim = data.draw(st.sampled_from(self.stale))
        held = self.claims.get(claim.delivery_id)
        if held is not None and held.attempt == claim.attempt:
            return  # given back, then claimed again by the same worker: the same attempt
        try:
            self.do(finish(self.store, end(claim, state)))
        except LeaseLost:
            return
        raise AssertionError("a result that is void was taken")

    @rule(is_stop=st.booleans())
    def the_process_ends(self, is_stop: bool) -> None:
        """By a kill, or by a close that leaves runs behind: their attempt counts."""
        self.do(self.store.close() if is_stop else die(self.store))
        self.store = self.do(self._opened())
        told = 0
        for delivery_id, claim in self.claims.items():
            stored = self.do(self.store.delivery(delivery_id))
            assert stored is not None
            self.model.lose(delivery_id, max_attempts=claim.max_attempts, by_death=not is_stop,
                            due_ms=round(stored.due_at.timestamp() * 1000))  # fmt: skip
            known = self.model.deliveries[delivery_id]
            told += known.state is State.DEAD and not known.is_told
            self.stale.append(claim)
        self.claims.clear()
        self._expect_told(told)

    # -- people -----------------------------------------------------------------------------

    @precondition(lambda self: self.model.deliveries)
    @rule(data=st.data())
    def retry_by_hand(self, data: st.DataObject) -> None:
        delivery_id = data.draw(st.sampled_from(list(self.model.deliveries)))
        known = self.model.deliveries[delivery_id]
        changed = self.do(self.store.retry([delivery_id], now_ms=self.now_ms))
        if known.state is State.DEAD:
            known.forgiven, known.due_ms, known.deaths = known.attempts, self.now_ms, 0
            known.is_head = known.key is None or not self.model.unfinished(known)
            known.state = State.PENDING
        elif known.state in (State.PENDING, State.RETRYING):
            known.due_ms = self.now_ms
        else:
            assert changed == []
            return
        self.model.pass_turn(known, self.now_ms)
        assert changed == [delivery_id]

    @precondition(lambda self: self.model.deliveries)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        delivery_id = data.draw(st.sampled_from(list(self.model.deliveries)))
        known = self.model.deliveries[delivery_id]
        changed = self.do(self.store.discard([delivery_id], reason="", now_ms=self.now_ms))
        if State.CANCELLED in MOVES[known.state]:
            assert changed == [delivery_id]
            self._finalize(known, State.CANCELLED, self.now_ms)
        else:
            assert changed == []

    @precondition(lambda self: self.model.events)
    @rule(
        data=st.data(),
        name=st.sampled_from(NAMES),
        key=st.sampled_from(KEYS),
        steps_aside=st.booleans(),
    )
    def replay(self, data: st.DataObject, name: str, key: str | None, steps_aside: bool) -> None:
        event_id = data.draw(st.sampled_from(list(self.model.events.values())))
        new = handler(name, attempts=1, key=key, steps_aside=steps_aside)
        replay_id = self.do(
            self.store.replay(author="me", selection="one", now_ms=self.now_ms,
                              deliveries=[(event_id, [new, new])])
        )  # fmt: skip
        made = self.do(self.store.deliveries(DeliveryFilter(replay_id=replay_id), limit=9))
        for each in reversed(made):
            known = Known(name, key, due_ms=self.now_ms, is_replay=True,
                          steps_aside=steps_aside and key is not None)  # fmt: skip
            self.model.add(each.id, known, self.now_ms)

    # -- time -------------------------------------------------------------------------------

    @rule(jump_ms=st.integers(-20_000, 60_000))
    def the_clock_jumps(self, jump_ms: int) -> None:
        self.now_ms += jump_ms

    @rule()
    def a_heart_beats(self) -> None:
        assert self.do(self.store.heartbeat()) == 0

    # -- invariants -------------------------------------------------------------------------

    @invariant()
    def the_store_is_where_the_model_is(self) -> None:
        rows = self.do(self._rows())
        assert {row[0]: row[1:4] for row in rows} == {
            each: (known.state, known.attempts, known.forgiven)
            for each, known in self.model.deliveries.items()
        }
        waits = {row[0]: row[4] for row in rows}
        for each, known in self.model.deliveries.items():
            if known.state in UNFINISHED:
                assert (waits[each] > 0) == (not known.is_head), known

    async def _rows(self) -> list[Any]:
        return await self.store.read(
            lambda db: db.execute(
                "SELECT id, state, attempts, attempts_forgiven, waits_for_key, name, key, "
                "(SELECT count(*) FROM attempts WHERE delivery_id = deliveries.id), "
                "finalized_at, worker FROM deliveries ORDER BY id"
            ).fetchall()
        )

    @invariant()
    def what_a_row_says_fits_together(self) -> None:
        heads: dict[tuple[str, str], int] = {}
        unfinished = set()
        for row in self.do(self._rows()):
            _, state, attempts, _, waits, name, key, kept, finalized_at, worker = row
            assert kept == attempts - (state == State.RUNNING), "each attempt left its account"
            assert (finalized_at is not None) == (state in FINAL_STATES)
            assert (worker is not None) == (state == State.RUNNING)
            if key is not None and state not in FINAL_STATES:
                unfinished.add((name, key))
                heads[name, key] = heads.get((name, key), 0) + (not waits)
        assert heads == dict.fromkeys(unfinished, 1), "one of each key, no key stuck"

    @invariant()
    def every_move_is_in_the_table(self) -> None:
        """Between two looks a delivery may have made a few; each step must exist."""
        for each, known in self.model.deliveries.items():
            before = self.last_states.get(each, State.PENDING)
            assert known.state in _reachable(before), (before, known.state)
            self.last_states[each] = known.state

    @invariant()
    def counts_are_right(self) -> None:
        counts = {state: len(found) for state in State if (found := self.model.in_state(state))}
        assert self.do(self.store.count_states()) == counts
        waiting = self.model.in_state(State.PENDING, State.RETRYING)
        assert self.do(self.store.backlog()) == len(waiting)
        assert sum(self.do(self.store.waiting()).values()) == len(waiting)

    # -- helpers ----------------------------------------------------------------------------

    def _end_one(self, data: st.DataObject) -> Claim:
        return self.claims.pop(data.draw(st.sampled_from(list(self.claims))))

    def _expect_told(self, count: int) -> None:
        """So many have died, and each of them is told of by a delivery to `a`."""
        stored = self.do(self.store.deliveries(DeliveryFilter(), limit=1000))
        new = [each for each in stored if each.id not in self.model.deliveries]
        assert len(new) == count
        for each in new:
            assert (each.name, each.state) == ("a", State.PENDING)
            due_ms = round(each.due_at.timestamp() * 1000)
            self.model.add(each.id, Known("a", None, due_ms=due_ms, is_told=True), self.now_ms)

    def _finalize(self, known: Known, state: State, now_ms: int | None = None) -> None:
        known.state = state
        self.model.pass_turn(known, wall_ms() if now_ms is None else now_ms)


def _reachable(start: State) -> set[State]:
    """The state itself, and those one move away."""
    return {start} | MOVES[start]


TestDeliveryLife = DeliveryLife.TestCase
TestDeliveryLife.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
