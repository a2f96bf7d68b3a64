"""Claims from the store what is due, for every lane with room."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from receiver.dispatch.heart import Heart
from receiver.dispatch.lane import Lane
from receiver.dispatch.recording import AGAIN_SECONDS
from receiver.dispatch.target_circuit import CircuitBoard
from receiver.errors import StoreError, StoreUnavailable
from receiver.store.base import Claim, Claims, Store

log = structlog.get_logger("receiver.dispatch")

POLL_SECONDS = 0.2
"""How soon work that has come due is noticed."""
LOOK_SECONDS = 0.05
"""How soon work that another process added is noticed: it looks at shared memory only."""
ELSEWHERE_SECONDS = 0.5
"""How long a lane that is another worker's is left to it before it is asked for again."""

REST_SHARE = 0.5
"""After a round that claimed replays: how long to rest, of the time that it took. Live events need
the processor and the disk too. With a rest as long as the round their p99 is a tenth lower, and
replays are a fifth slower (benchmarks/replay.py)."""
MAX_REST_SECONDS = 0.05
HANDED_OVER_AT_A_STRETCH = 2
"""So many replays begin, then the loop looks at what else came."""

_MOST = 1_000_000
"""Of one lane so many may be claimed at a time: as many as it has room for."""
_MOST_AFTER_FAULT = 128
"""After a round that failed it is a quarter of this, until all that was due is claimed."""


class Claimer:
    """Runs rounds of claims, one after the other, whenever there may be something to claim."""

    def __init__(
        self,
        store: Store,
        lanes: Callable[[], Mapping[str, Lane]],
        *,
        heart: Heart,
        circuits: CircuitBoard,
        room: Callable[[], int],
        on_claimed: Callable[[Lane, Claim], None],
        on_outage: Callable[[StoreUnavailable], None],
    ) -> None:
        """`lanes`: those that there are now, by name. `room`: how many more deliveries may run in
        this process. `on_claimed` gets each claim, its place in the lane taken.
        """
        self._store = store
        self._lanes = lanes
        self._heart = heart
        self._circuits = circuits
        self._room_of_process = room
        self._on_claimed = on_claimed
        self._on_outage = on_outage
        self._wake = asyncio.Event()
        self._changes = 0
        self._turn = 0
        self._turns: dict[str, int] = {}
        """Of lanes that had to share places: when each was given its latest one."""
        self._most = _MOST
        self._has_replays = False
        """Whether the latest round claimed replays."""
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """There is new work in the store, or room for some."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no further round."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Claim until `stop`. Ends after the round that is under way."""
        while not self._stopping.is_set():
            self._wake.clear()  # before the round, or what it can't see yet would be missed
            pause = POLL_SECONDS
            try:
                began_at = time.monotonic()
                has_more = await self._claim_round()
                if self._has_replays:
                    took_seconds = time.monotonic() - began_at
                    await self._rest(min(REST_SHARE * took_seconds, MAX_REST_SECONDS))
                if has_more:
                    continue
                self._most = _MOST
            except StoreUnavailable as error:
                self._on_outage(error)
                pause = AGAIN_SECONDS
            except Exception:
                log.exception("dispatch.claim_failed")
                # There may be no memory for so many large events: then fewer at a time get by.
                self._most = max(1, min(self._most, _MOST_AFTER_FAULT) // 4)
                await self._rest(AGAIN_SECONDS)
                continue
            await self._wait_for_work(pause)

    async def _rest(self, seconds: float) -> None:
        """Wait that long, whatever is added meanwhile: what was given back is, by ourselves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _wait_for_work(self, seconds: float) -> None:
        """Wait that long, or until somebody in this process or another has added work."""
        give_up_at = time.monotonic() + seconds
        while (left := give_up_at - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(LOOK_SECONDS, left)):
                    await self._wake.wait()
                return
            except TimeoutError:
                if await self._has_changed():
                    return

    async def _has_changed(self) -> bool:
        try:
            changes = await self._store.change_count()
        except StoreError:
            return False  # it will be said by whoever asks for more
        before, self._changes = self._changes, changes
        return changes != before

    async def _claim_round(self) -> bool:
        """Claim once for every lane with room; whether there may be more to claim at once."""
        self._has_replays = False
        await self._heart.ensure_lease()
        await self._circuits.save()
        now_ms = int(time.time() * 1000)
        lanes = self._lanes()
        open_lanes = [lane for lane in lanes.values() if _may_claim(lane)]
        if not open_lanes:
            return False
        for lane in open_lanes:
            lane.has_refused = False
        due = await self._store.due_names([lane.name for lane in open_lanes], now_ms=now_ms)
        if any(lanes[name].circuit and not lanes[name].is_mine for name in due):
            # Whoever had it until now may have found its target dead.
            await self._circuits.look(names=lanes)
        # They may have been replaced meanwhile. From here on those are meant that are now: with
        # their places taken they stay until what is claimed for them has run.
        lanes = self._lanes()
        due = [name for name in due if name in lanes]
        for lane in open_lanes:
            if not lane.has_refused:
                lane.slot_at = None  # it has come; what is due goes first
        wants = self._reserve_for_claims(lanes, due)
        if not wants:
            return False
        replays = {name: room for name in wants if (room := lanes[name].replay_room) > 0}
        claims = Claims()
        alone = [name for name in wants if lanes[name].is_limited]
        try:
            claims = await self._store.claim(wants, now_ms=now_ms, alone=alone, replays=replays)
        finally:
            for claim in claims:
                wants[claim.name] -= 1
            for name, unused in wants.items():
                lanes[name].return_places(unused)
        self._note_owners([lanes[name] for name in alone], claims.elsewhere)
        for name in replays:
            lanes[name].replays_wait = False
        replayed = [claim.name for claim in claims if claim.replay_id is not None]
        self._has_replays = bool(replayed)
        for name in replayed:
            if name in replays:
                replays[name] -= 1
                lanes[name].replays_wait = True
        await self._hand_over(claims, lanes)
        return 0 in wants.values() or 0 in replays.values()

    async def _hand_over(self, claims: Iterable[Claim], lanes: Mapping[str, Lane]) -> None:
        """Let all of them run: the live ones at once, replays a few at a time."""
        handed_over = 0
        for claim in claims:
            self._on_claimed(lanes[claim.name], claim)
            if claim.replay_id is not None:
                handed_over += 1
                if handed_over % HANDED_OVER_AT_A_STRETCH == 0:
                    await asyncio.sleep(0)

    def _note_owners(self, alone: Sequence[Lane], elsewhere: Collection[str]) -> None:
        """Whose the limited lanes are, by what a claim has told."""
        for lane in alone:
            lane.is_mine = lane.name not in elsewhere
            if not lane.is_mine:
                lane.not_before = time.monotonic() + ELSEWHERE_SECONDS

    def forget_lanes(self) -> None:
        """This worker may have been taken for dead: it has to ask again for what was its alone."""
        for lane in self._lanes().values():
            lane.is_mine = False

    def _reserve_for_claims(self, lanes: Mapping[str, Lane], due: Sequence[str]) -> dict[str, int]:
        """Take places for what is due, so that nothing else takes them while we claim."""
        wants: dict[str, int] = {}
        for name, room in self._share(lanes, due).items():
            lane = lanes[name]
            if room > 0 and (taken := lane.take_places(room)):
                wants[name] = taken
            if lane.slot_at is not None:
                wait = max(0.0, lane.slot_at - time.monotonic())
                asyncio.get_running_loop().call_later(wait, self.wake)
        return wants

    def _share(self, lanes: Mapping[str, Lane], due: Sequence[str]) -> dict[str, int]:
        """How many places each lane may take.

        If the process has too few for all, each goes to the lane that runs least, by turns: one
        that is slow, or has much to do, leaves the others theirs.
        """
        rooms = {name: min(self._most, max(0, lanes[name].claim_room)) for name in due}
        places = self._room_of_process()
        if sum(rooms.values()) <= places:
            return rooms
        given = dict.fromkeys(rooms, 0)
        for _ in range(places):
            name = min(
                (name for name, room in rooms.items() if given[name] < room),
                key=lambda name: (
                    lanes[name].running + given[name],
                    self._turns.get(name, 0),
                ),
            )
            given[name] += 1
            self._turn += 1
            self._turns[name] = self._turn
        return given


def _may_claim(lane: Lane) -> bool:
    return lane.room > 0 and time.monotonic() >= max(lane.slot_at or 0.0, lane.not_before)
