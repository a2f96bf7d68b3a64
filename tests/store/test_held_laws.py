"""Laws of group timers and throttles: each message goes out once, not too early, not too late."""

import itertools
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from receiver.holds import Hold, Throttle
from receiver.model import DeliveryId, Message, NewDelivery, State
from receiver.store import holding
from receiver.store.base import HeldGroup
from receiver.store.driver import sqlite3
from receiver.store.migrations import migrations
from receiver.store.queries import Queries

QUERIES = Queries.load("queries.sql")
READS = Queries.load("reads.sql")
TARGET = "ops/1-test"
SAID = Message(channel="ops", title="t", body="b")


class World:
    """A database, a clock, and when each message went out."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrations.apply(Database(self.db, execute_plugins=False))
        self.numbers = itertools.count(1000)
        self.came: dict[int, int] = {}
        self.out: dict[int, int] = {}
        """When each delivery was let go, whether a message's own or a digest's."""

    def arrive(self, hold: Hold, now: int) -> int:
        """A message for the target; its delivery's number."""
        seq, said = next(self.numbers), next(self.numbers)
        self.db.execute(
            "INSERT INTO events VALUES (?, ?, 's', 't', ?, x'', '', NULL, NULL, x'')",
            (seq, f"evt_{seq}", now),
        )
        self.db.execute(
            "INSERT INTO deliveries (id, event_seq, kind, name, state, max_attempts, due_at,"
            " created_at, finalized_at) VALUES (?, ?, 'handler', 'h', 'succeeded', 1, 0, 0, 0)",
            (said, seq),
        )
        message = self.db.execute(
            QUERIES["insert_message"], (said, "ops", "t", "b", "info", "text", None)
        ).lastrowid
        number = next(self.numbers)
        new = NewDelivery("target", TARGET, 3, hold=hold)
        place = holding.place(self.db, new, now)
        self.db.execute(
            QUERIES["insert_message_delivery"],
            (number, seq, TARGET, place.state.value, 0, 3, None, place.due_ms, now, message,
             None, None, *place[2:], None),
        )  # fmt: skip
        self.came[number] = now
        if place.state is State.PENDING:
            self.out[number] = now
        return number

    def look(self, now: int) -> None:
        """What a releaser does."""
        for row in self.db.execute(READS["due_groups"], (now, 100)).fetchall():
            group = HeldGroup(*row)
            held = self.db.execute(READS["held_messages"], (*group[:3], now, 0, 1000)).fetchall()
            ids = [DeliveryId(each[0]) for each in held]
            assert holding.release(
                self.db, group, ids, lambda _id: SAID, now_ms=now,
                next_number=lambda: next(self.numbers),
            )  # fmt: skip
            # Whoever found the same a moment ago comes too late, and does nothing.
            again = holding.release(
                self.db, group, ids, lambda _id: SAID, now_ms=now,
                next_number=lambda: next(self.numbers),
            )  # fmt: skip
            assert not again
        for (number,) in self.db.execute("SELECT id FROM deliveries WHERE state = 'pending'"):
            self.out.setdefault(number, now)

    def sent(self) -> dict[int, list[int]]:
        """For each message that went out the deliveries that are in it; each is in one."""
        found = defaultdict[int, list[int]](list)
        for number, state, into in self.db.execute(
            "SELECT id, state, merged_into FROM deliveries WHERE kind = 'target'"
        ):
            if number in self.came:
                assert (state == "pending") == (into is None), "out by itself, or in a digest"
                found[into or number].append(number)
        assert set(found) == set(self.out)
        return found


arrivals = st.lists(st.integers(0, 3000), min_size=1, max_size=25).map(sorted)


def run(world: World, hold: Hold, times: list[int], *, every_tick: int, until: int) -> None:
    ticks = [(tick, True) for tick in range(0, until, every_tick)]
    for moment, is_look in sorted(ticks + [(each, False) for each in times]):
        if is_look:
            world.look(moment)
        else:
            world.arrive(hold, moment)


@settings(max_examples=60, deadline=None)
@given(arrivals, st.integers(0, 400), st.integers(1, 900), st.sampled_from([10, 37, 90]))
def test_groups_go_out_once_in_time_and_not_too_often(
    times: list[int], wait: int, every: int, tick: int
) -> None:
    world = World()
    hold = Hold("group", "r", group="g", wait_ms=wait, every_ms=every)
    run(world, hold, times, every_tick=tick, until=3000 + max(wait, every) + 2 * tick)
    outs = sorted((world.out[out], members) for out, members in world.sent().items())
    for (before, _), (after, _) in itertools.pairwise(outs):
        assert after >= before + every, "not too often"
    last = None
    for at, members in outs:
        first = min(world.came[each] for each in members)
        if last is None or first >= last + every:
            assert first + wait <= at <= first + wait + tick, "the first one waits for `wait`"
        else:
            assert last + every <= at <= last + every + tick, "the next ones for `every`"
        last = at


@settings(max_examples=60, deadline=None)
@given(arrivals, st.integers(1, 3), st.integers(50, 900), st.sampled_from([10, 37, 90]))
def test_a_throttle_lets_so_many_go_per_window_and_holds_nothing_for_longer(
    times: list[int], limit: int, window: int, tick: int
) -> None:
    world = World()
    throttle = Throttle("k", limit, window)
    hold = Hold("throttle", "r", group="k", throttle=throttle)
    run(world, hold, times, every_tick=tick, until=3000 + window + 2 * tick)
    begun, in_window = None, 0
    for at, members in sorted((world.out[out], m) for out, m in world.sent().items()):
        if begun is None or at >= begun + window:
            begun, in_window = at, 0
        in_window += 1
        assert in_window <= limit
        assert at - min(world.came[each] for each in members) <= window + tick


@settings(max_examples=40, deadline=None)
@given(arrivals, st.integers(0, 200), st.integers(1, 500), st.integers(1, 2),
       st.integers(50, 900))  # fmt: skip
def test_throttled_groups_lose_nothing(
    times: list[int], wait: int, every: int, limit: int, window: int
) -> None:
    world = World()
    hold = Hold("group", "r", group="g", wait_ms=wait, every_ms=every,
                throttle=Throttle("k", limit, window))  # fmt: skip
    run(world, hold, times, every_tick=20, until=3000 + wait + every + 2 * window + 100)
    outs = sorted(world.out.values())
    assert sorted(itertools.chain(*world.sent().values())) == sorted(world.came)
    begun, in_window = None, 0
    for at in outs:
        if begun is None or at >= begun + window:
            begun, in_window = at, 0
        in_window += 1
        assert in_window <= limit
