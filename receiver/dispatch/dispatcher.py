"""The dispatcher: claims due deliveries, runs each in its lane, records how it ended.

Deliveries reach it in two ways. Ingress hands over what it has just recorded, already claimed,
while there is room; all else is claimed from the store when it is due.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import structlog

from receiver.dispatch.lane import Lane, Postpone
from receiver.errors import LeaseLost
from receiver.model import DeliveryId, State, format_delivery_id
from receiver.store.base import Claim, Finish, Store
from receiver.store.workers import HEARTBEAT_SECONDS

log = structlog.get_logger("receiver.dispatch")

POLL_SECONDS = 0.2
"""How soon work that another process added, or that has come due, is noticed."""
_FINISH_AGAIN_SECONDS = 1.0


class Dispatcher:
    """Runs deliveries of one store. Used from one event loop."""

    def __init__(self, store: Store, lanes: Iterable[Lane]) -> None:
        self._store = store
        self._lanes = {lane.name: lane for lane in lanes}
        self._tasks: dict[DeliveryId, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._given_back: list[DeliveryId] = []
        self._unrecorded = 0
        self._all_recorded = asyncio.Event()
        self.backlog = 0
        """Deliveries that wait or run, as far as this process knows."""

    @property
    def running(self) -> int:
        """How many deliveries run now."""
        return len(self._tasks)

    def lane(self, name: str) -> Lane | None:
        """The lane of that handler or target."""
        return self._lanes.get(name)

    async def start(self) -> None:
        """Begin to claim."""
        self.backlog = await self._store.backlog()
        self._loops = [
            asyncio.create_task(self._claim_forever(), name="dispatch-claim"),
            asyncio.create_task(self._beat_forever(), name="dispatch-heartbeat"),
        ]

    async def stop(self, drain_seconds: float) -> int:
        """Stop claiming, wait for what runs, give back what does not end in time; how many."""
        self._is_stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=drain_seconds)
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=drain_seconds)
        # Cancelled before its first step, a task never came to put itself on the list.
        self._given_back += [each for each, task in self._tasks.items() if task.done()]
        if self._unrecorded:
            self._all_recorded.clear()
            async with asyncio.timeout(drain_seconds):
                await self._all_recorded.wait()
        if self._given_back:
            await self._store.release(self._given_back)
        return len(self._given_back)

    def wake(self) -> None:
        """There is new work in the store."""
        self._wake.set()

    # -- handed over by ingress ---------------------------------------------------------------

    def reserve(self, lanes: Sequence[Lane]) -> bool:
        """Take a place in each of the lanes, or in none: False when one is full."""
        if self._is_stopping:
            return False
        for lane in lanes:
            if lane.running >= lane.limit:
                return False
        for lane in lanes:
            lane.running += 1
        return True

    def give_up(self, lanes: Sequence[Lane]) -> None:
        """Return reserved places unused."""
        for lane in lanes:
            self._leave(lane)

    def start_reserved(self, lane: Lane, claim: Claim) -> None:
        """Run a delivery that is claimed already, in its reserved place."""
        # Held here until it has run: the loop itself holds tasks only weakly.
        self._tasks[claim.delivery_id] = asyncio.get_running_loop().create_task(
            self._run(lane, claim)
        )

    def _leave(self, lane: Lane) -> None:
        if lane.room == 0:  # there may be more of it in the store
            self._wake.set()
        lane.running -= 1

    # -- claimed from the store ---------------------------------------------------------------

    async def _claim_forever(self) -> None:
        while True:
            try:
                more = await self._claim_round()
            except Exception:
                # The store may be locked or full for now; what is due stays due.
                log.exception("dispatch.claim_failed")
                more = False
            if not more:
                self._wake.clear()
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _claim_round(self) -> bool:
        """Claim once for every lane with room; whether there may be more to claim at once."""
        now_ms = int(time.time() * 1000)
        open_lanes = [lane.name for lane in self._lanes.values() if self._may_claim(lane)]
        if not open_lanes:
            return False
        due = await self._store.due_names(open_lanes, now_ms=now_ms)
        wants = self._reserve_for_claims(due)
        if not wants:
            return False
        claims: list[Claim] = []
        try:
            claims = await self._store.claim(wants, now_ms=now_ms)
        finally:
            for claim in claims:
                wants[claim.name] -= 1
            for name, unused in wants.items():
                self.give_up([self._lanes[name]] * unused)
        for claim in claims:
            self.start_reserved(self._lanes[claim.name], claim)
        return any(unused == 0 for unused in wants.values())

    def _may_claim(self, lane: Lane) -> bool:
        if lane.room <= 0:
            return False
        return lane.slot_at is None or asyncio.get_running_loop().time() >= lane.slot_at

    def _reserve_for_claims(self, due: Sequence[str]) -> dict[str, int]:
        """Take places for what is due, so that nothing else takes them while we claim."""
        wants: dict[str, int] = {}
        for name in due:
            lane = self._lanes[name]
            want = lane.room
            if want > 0 and self._pace_allows(lane):
                lane.running += want
                wants[name] = want
        return wants

    def _pace_allows(self, lane: Lane) -> bool:
        """Whether the lane may send now; if not, it looks away until its slot comes."""
        if lane.slot_at is not None:  # its time has come, or _may_claim had said no
            lane.slot_at = None
            return True
        wait = lane.wait_seconds()
        if wait <= 0:
            return True
        loop = asyncio.get_running_loop()
        lane.slot_at = loop.time() + wait
        loop.call_at(lane.slot_at, self._wake.set)
        return False

    # -- running ------------------------------------------------------------------------------

    async def _run(self, lane: Lane, claim: Claim) -> None:
        try:
            finish = await lane.run(claim)
        except Postpone as postponed:
            await self._postpone(claim, postponed.seconds)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            self._given_back.append(claim.delivery_id)
        else:
            self._record(claim, finish)
        finally:
            self._tasks.pop(claim.delivery_id, None)
            self._leave(lane)

    async def _postpone(self, claim: Claim, seconds: float) -> None:
        due_ms = int((time.time() + seconds) * 1000)
        await self._store.release([claim.delivery_id], due_ms=due_ms)

    def _record(self, claim: Claim, finish: Finish) -> None:
        self._unrecorded += 1
        self._store.finish(finish, partial(self._recorded, claim, finish))

    def _recorded(self, claim: Claim, finish: Finish, error: BaseException | None) -> None:
        """The end of an attempt is committed, or could not be."""
        if error is not None and not isinstance(error, LeaseLost):
            # Full or locked for now. The attempt is over and must be told: try until it is.
            log.error("delivery.not_recorded", delivery_id=claim.delivery_id, error=str(error))
            asyncio.get_running_loop().call_later(
                _FINISH_AGAIN_SECONDS,
                self._store.finish, finish, partial(self._recorded, claim, finish),
            )  # fmt: skip
            return
        self._unrecorded -= 1
        if not self._unrecorded:
            self._all_recorded.set()
        if error is not None:
            log.warning("delivery.lease_lost", delivery_id=claim.delivery_id, error=str(error))
            return
        if finish.state.is_final:
            self.backlog -= 1
        self.backlog += sum(len(staged.deliveries) for staged in finish.messages)
        if finish.messages or finish.key is not None:
            self._wake.set()
        if finish.state is not State.SUCCEEDED:
            _log_failure(claim, finish)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                rescued = await self._store.heartbeat()
                self.backlog = await self._store.backlog() + len(self._tasks)
            except Exception:
                log.exception("dispatch.heartbeat_failed")
            else:
                if rescued:
                    log.warning("dispatch.rescued", deliveries=rescued)
                    self._wake.set()


def _log_failure(claim: Claim, finish: Finish) -> None:
    fields: Mapping[str, object] = {
        "delivery_id": format_delivery_id(claim.delivery_id),
        "event_id": claim.event.id,
        "name": claim.name,
        "attempt": finish.number,
        "error_class": finish.error_class,
        "error": finish.error or finish.reason,
    }
    if finish.state is State.DEAD:
        log.error("delivery.dead", **fields)
    else:
        assert finish.due_ms is not None, "what is tried again is due some time"
        wait = max(0.0, finish.due_ms / 1000 - time.time())
        log.warning("delivery.retrying", again_in_seconds=round(wait, 1), **fields)
