"""The turns of keys against the model of the deliveries' life, with many of one key at a time.

`test_delivery_life.py` does everything with everything, so that two of one key meet seldom.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from life_model import START_MS, UNFINISHED, Known, Model, wall_ms
from store_data import HANDLER, die, end, event, finish, handler

from receiver.model import State
from receiver.store.base import Claim, DeliveryFilter
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

KEYS = ["7", "8"]
WEIGHTS = {
    "receive": 4, "claim": 8, "succeed": 2, "fail": 8, "die": 1, "release": 2, "discard": 2,
    "retry": 3, "replay": 1, "crash": 1, "go_on": 3, "go_back": 1,
}  # fmt: skip


class Run:
    """A store and its model, moved together."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.model = Model()
        self.now_ms = START_MS
        self.claims: dict[int, Claim] = {}
        self.store = SqliteStore(path)
        self.passed = 0
        """How often a turn went to another while its holder waited for a retry."""

    async def receive(self) -> None:
        key, steps_aside = self.random.choice(KEYS), self.random.random() < 0.7
        new = handler(attempts=4, key=key, steps_aside=steps_aside)
        recorded = await self.store.record(event(received_ms=self.now_ms), [new])
        self._add(recorded.delivery_ids[0], key, steps_aside=steps_aside)

    async def replay(self) -> None:
        found = await self.store.deliveries(DeliveryFilter(), limit=1)
        if not found:
            return
        key, steps_aside = self.random.choice(KEYS), self.random.random() < 0.7
        new = handler(attempts=4, key=key, steps_aside=steps_aside)
        replay_id = await self.store.replay(
            author="me", selection="one", now_ms=self.now_ms,
            deliveries=[(found[0].event_id, [new])],
        )  # fmt: skip
        (made,) = await self.store.deliveries(DeliveryFilter(replay_id=replay_id), limit=9)
        self._add(made.id, key, steps_aside=steps_aside, is_replay=True)

    def _add(self, delivery_id: int, key: str, **options: bool) -> None:
        known = Known(HANDLER, key, due_ms=self.now_ms, **options)
        self.model.add(delivery_id, known, self.now_ms)

    async def claim(self) -> None:
        most = self.random.randint(1, 4)
        expected = self.model.claimable(HANDLER, self.now_ms, most)
        claims = await self.store.claim({HANDLER: most}, now_ms=self.now_ms)
        assert sorted(each.delivery_id for each in claims) == sorted(expected)
        for each in claims:
            known = self.model.deliveries[each.delivery_id]
            known.state, known.attempts = State.RUNNING, known.attempts + 1
            self.claims[each.delivery_id] = each

    async def succeed(self) -> None:
        await self._end(State.SUCCEEDED)

    async def die(self) -> None:
        await self._end(State.DEAD)

    async def fail(self) -> None:
        await self._end(State.RETRYING, due_ms=self.now_ms + self.random.choice([0, 500, 3000]))

    async def _end(self, state: State, due_ms: int | None = None) -> None:
        claim = self._pop()
        if claim is None:
            return
        await finish(self.store, end(claim, state, due_ms=due_ms))
        known = self.model.deliveries[claim.delivery_id]
        known.state, known.due_ms = state, due_ms or known.due_ms
        self.model.pass_turn(known, wall_ms())
        self.passed += state is State.RETRYING and not known.is_head

    async def release(self) -> None:
        claim = self._pop()
        if claim is None:
            return
        due_ms = self.random.choice([None, self.now_ms + 1000])
        await self.store.release([claim.delivery_id], due_ms=due_ms)
        known = self.model.deliveries[claim.delivery_id]
        known.attempts -= 1
        is_new = known.attempts == known.forgiven
        known.state = State.PENDING if is_new else State.RETRYING
        if due_ms is not None:
            known.due_ms = due_ms
            if known.steps_aside:
                self.model.pass_turn(known, wall_ms())

    async def discard(self) -> None:
        known = await self._by_hand("discard", State.PENDING, State.RETRYING, State.DEAD)
        if known is not None:
            known.state = State.CANCELLED
            self.model.pass_turn(known, self.now_ms)

    async def retry(self) -> None:
        known = await self._by_hand("retry", State.DEAD, State.RETRYING, State.PENDING)
        if known is None:
            return
        if known.state is State.DEAD:
            known.forgiven, known.deaths = known.attempts, 0
            known.is_head = not self.model.unfinished(known)
            known.state = State.PENDING
        known.due_ms = self.now_ms
        self.model.pass_turn(known, self.now_ms)

    async def _by_hand(self, verb: str, *states: State) -> Known | None:
        found = self.model.in_state(*states)
        if not found:
            return None
        chosen = self.random.choice(found)
        more = {"reason": ""} if verb == "discard" else {}
        act: Any = getattr(self.store, verb)
        assert await act([chosen], now_ms=self.now_ms, **more) == [chosen]
        return self.model.deliveries[chosen]

    async def crash(self) -> None:
        await die(self.store)
        self.store = SqliteStore(self.path)
        await self.store.open()
        for delivery_id, claim in self.claims.items():
            stored = await self.store.delivery(delivery_id)
            assert stored is not None
            self.model.lose(delivery_id, max_attempts=claim.max_attempts, by_death=True,
                            due_ms=round(stored.due_at.timestamp() * 1000))  # fmt: skip
        self.claims.clear()

    async def go_on(self) -> None:
        self.now_ms += self.random.choice([100, 500, 3000])

    async def go_back(self) -> None:
        self.now_ms -= 2000

    def _pop(self) -> Claim | None:
        if not self.claims:
            return None
        return self.claims.pop(self.random.choice([*self.claims]))

    async def check(self) -> None:
        rows = await self.store.read(
            lambda db: db.execute(
                "SELECT id, state, attempts, waits_for_key, key FROM deliveries ORDER BY id"
            ).fetchall()
        )
        model = self.model.deliveries
        assert {row[0]: row[1:3] for row in rows} == {
            each: (known.state, known.attempts) for each, known in model.items()
        }
        unfinished = [row for row in rows if row[1] in UNFINISHED]
        assert {row[0]: not row[3] for row in unfinished} == {
            row[0]: model[row[0]].is_head for row in unfinished
        }
        heads = sorted(row[4] for row in unfinished if not row[3])
        assert heads == sorted({row[4] for row in unfinished}), "one of each key, no key stuck"


@pytest.mark.parametrize("seed", range(10))
async def test_any_moves_leave_each_key_with_one_that_may_run(tmp_path: Path, seed: int) -> None:
    run = Run(tmp_path / "turns.db", seed)
    await run.store.open()
    for _ in range(250):
        verb = run.random.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
        await getattr(run, verb)()
        await run.check()
    await run.store.close()
    assert run.passed, "the moves were of some use"
