"""The dispatcher: has due deliveries claimed, runs each in its lane, records how it ended.

Deliveries reach it in two ways. Ingress hands over what it has just recorded, already claimed,
while there is room; all else is claimed from the store when it is due.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from receiver.deadline import Outlived
from receiver.dispatch.backlog import Backlog
from receiver.dispatch.claiming import Claimer
from receiver.dispatch.heart import Heart
from receiver.dispatch.lane import Lane, Postpone
from receiver.dispatch.recording import Recorder
from receiver.dispatch.target_circuit import CircuitBoard
from receiver.errors import StoreError, StoreUnavailable
from receiver.model import DeliveryId, State, format_delivery_id
from receiver.store.base import Claim, Finish, Store
from receiver.store.workers import LEASE_SECONDS

log = structlog.get_logger("receiver.dispatch")

COUNT_SECONDS = 5.0
"""How often the store is asked how much waits."""
CANCEL_SECONDS = 0.5
"""At a stop, how long a run that was cancelled may take to end."""
STORE_SECONDS = 2.0
"""At a stop, how long the store is waited for if it is full or locked."""
_NO_BOUND = 1_000_000


class Dispatcher:
    """Runs deliveries of one store. Used from one event loop."""

    def __init__(
        self,
        store: Store,
        lanes: Iterable[Lane],
        *,
        lease_seconds: float = LEASE_SECONDS,
        max_running: int | None = None,
        max_backlog: int = 1_000_000,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        """`max_running`: of all its deliveries, so many run at a time; None is no such bound.

        `max_backlog` is for whoever adds deliveries: with so many waiting, none more.
        `redact` masks the tracebacks of our own faults; without it none is kept.
        """
        self._store = store
        self._lanes: dict[str, Lane] = {}
        self._leaving: dict[str, Lane] = {}
        """Lanes that are no more, in which something still runs."""
        self.circuits = CircuitBoard(store)
        for lane in lanes:
            self.add_lane(lane)
        self._max_running = max_running
        self.heart = Heart(
            store,
            lease_seconds=lease_seconds,
            on_rescued=self.wake,
            on_lapse=self._on_lapse,
        )
        """Beats while the dispatcher runs; in a process that only receives it beats by itself."""
        self._recorder = Recorder(store, self._on_recorded, redact)
        self._tasks: dict[DeliveryId, asyncio.Task[None]] = {}
        self._abandoned: dict[tuple[DeliveryId, int], asyncio.Task[None]] = {}
        self._reserved = 0
        self._none_reserved = asyncio.Event()
        self._claimer = Claimer(
            store,
            lambda: self._lanes,
            heart=self.heart,
            circuits=self.circuits,
            room=self._room,
            on_claimed=self._start,
            on_outage=self._recorder.note_outage,
        )
        self._claiming: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._unrun: list[DeliveryId] = []
        self.backlog = Backlog(store, most=max_backlog)
        self.held = 0
        """Messages that silences, quiet hours, digests or throttles keep back."""
        self.without_lane: dict[str, int] = {}
        """Deliveries that wait for a handler or target that is not there (any more), by name."""

    @property
    def running(self) -> int:
        """How many deliveries run now."""
        return len(self._tasks)

    @property
    def abandoned(self) -> int:
        """How many runs go on although their attempt has ended."""
        return len(self._abandoned)

    @property
    def stopped_lanes(self) -> list[str]:
        """The handlers that may not run before one of their abandoned runs ends."""
        return [lane.name for lane in self._lanes.values() if lane.is_stopped]

    def lane(self, name: str) -> Lane | None:
        """The lane of that handler or target."""
        return self._lanes.get(name)

    def add_lane(self, lane: Lane) -> None:
        """Run deliveries of that name too; before the start."""
        self._lanes[lane.name] = lane
        if lane.circuit is not None:
            self.circuits.add(lane.name, lane.circuit)

    def replace_lanes(self, lanes: Iterable[Lane]) -> None:
        """Have just these lanes from now on.

        One that is there already stays, and becomes as the new one. What runs in one that goes
        ends there; what waits for it waits for nobody, as it would after a restart.
        """
        known = {**self._leaving, **self._lanes}
        now: dict[str, Lane] = {}
        for lane in lanes:
            stays = known.pop(lane.name, None)
            if stays is not None:
                stays.become(lane)
            now[lane.name] = stays or lane
        # A new mapping, not the old one changed: a round of claims may be under way.
        self._lanes = now
        self._leaving = {name: lane for name, lane in known.items() if not lane.is_idle}
        self.circuits.replace(
            {name: lane.circuit for name, lane in now.items() if lane.circuit is not None}
        )
        self._claimer.wake()

    async def start(self) -> None:
        """Begin to claim."""
        await self.circuits.look(names=self._lanes)
        await self.count_waiting()
        for name, waiting in self.without_lane.items():
            log.warning(
                "dispatch.nobody_runs",
                name=name,
                deliveries=waiting,
                remedy="bring back or mend the handler or target of that name, or discard them",
            )
        await self.heart.start()
        self._claiming = asyncio.create_task(self._claimer.run(), name="dispatch-claim")
        self._counting = asyncio.create_task(self._count_forever(), name="dispatch-count")

    async def stop(self, drain_seconds: float) -> int:
        """Stop claiming, wait for what runs, give back what does not end in time; how many.

        A run that does not end when it is cancelled is left behind: its attempt counts, and
        whoever opens the store next tries it again.
        """
        self._is_stopping = True
        self._claimer.stop()
        give_up_at = asyncio.get_running_loop().time() + drain_seconds
        await self._take_no_more()
        if self._tasks:
            left_seconds = max(0.0, give_up_at - asyncio.get_running_loop().time())
            await asyncio.wait(list(self._tasks.values()), timeout=left_seconds)
        given_back = await self._cut_off()
        await self._tell_the_store(given_back)
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        await self.heart.stop()  # only now: what runs keeps its lease
        return len(given_back)

    def wake(self) -> None:
        """There is new work in the store."""
        self._claimer.wake()

    def expect(self, deliveries: int) -> None:
        """So many more wait in the store by now."""
        self.backlog.change(deliveries)
        self._claimer.wake()

    # -- stopping -----------------------------------------------------------------------------

    async def _take_no_more(self) -> None:
        """Wait for claims and hand-overs that are under way: cut short, they would be nobody's.

        It takes as long as a commit, or a little longer if the store is out.
        """
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if self._claiming is not None:
                    await asyncio.wait([self._claiming])
                while self._reserved:
                    self._none_reserved.clear()
                    await self._none_reserved.wait()
        except TimeoutError:
            log.error("dispatch.claims_left_behind", reserved=self._reserved)

    async def _cut_off(self) -> list[DeliveryId]:
        """Cancel what still runs; all that has to be given back."""
        running = dict(self._tasks)
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(list(running.values()), timeout=CANCEL_SECONDS)
        left = [format_delivery_id(each) for each, task in running.items() if not task.done()]
        if left:
            log.error("dispatch.runs_left_behind", delivery_ids=left)
        return self._unrun + [each for each, task in running.items() if task.cancelled()]

    async def _tell_the_store(self, given_back: list[DeliveryId]) -> None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._recorder.all_recorded()
                await self.circuits.save()
                if given_back:
                    await self._recorder.give_back(given_back)
        except (TimeoutError, StoreUnavailable):
            # Their claims stand, so the next start takes them up and tries them again.
            log.error("dispatch.not_recorded", deliveries=self._recorder.unrecorded)

    # -- handed over by ingress ---------------------------------------------------------------

    def reserve(self, lanes: Sequence[Lane]) -> bool:
        """Take a place in each of the lanes, or in none: False when the store has to decide.

        One lane has none to give now, or is another worker's; or this worker may have been
        taken for dead.
        """
        if self._is_stopping or not self.heart.has_lease or self._room() < len(lanes):
            taken = 0
        else:
            taken = self._take_places(lanes)
        if taken < len(lanes):
            for lane in lanes[:taken]:
                self._return(lane)
            for lane in lanes:
                lane.turn_away()
            return False
        self._reserved += taken
        return True

    @staticmethod
    def _take_places(lanes: Sequence[Lane]) -> int:
        """Take a place in each, as far as there are any; in how many."""
        for place, lane in enumerate(lanes):
            if (lane.is_limited and not lane.is_mine) or not lane.take_place():
                return place
        return len(lanes)

    def give_up(self, lanes: Sequence[Lane]) -> None:
        """Return reserved places unused."""
        for lane in lanes:
            self._return(lane)
        self._settle(len(lanes))

    def start_reserved(self, lane: Lane, claim: Claim) -> None:
        """Run a delivery that is claimed already, in its reserved place."""
        self._start(lane, claim)
        self._settle(1)

    def _on_lapse(self) -> None:
        self._claimer.forget_lanes()

    def _room(self) -> int:
        """How many more deliveries may run in this process."""
        if self._max_running is None:
            return _NO_BOUND
        lanes = (*self._lanes.values(), *self._leaving.values())
        return self._max_running - sum(lane.running for lane in lanes)

    def _settle(self, places: int) -> None:
        self._reserved -= places
        if not self._reserved:
            self._none_reserved.set()

    def _leave(self, lane: Lane, claim: Claim) -> None:
        if claim.replay_id is not None:
            if lane.replay_room <= 0:
                self._claimer.wake()
            lane.replaying -= 1
        if lane.running >= lane.limit or lane.abandoned:  # there may be more of it in the store
            self._claimer.wake()
        if self._room() <= 0:  # or of any other
            self._claimer.wake()
        if lane.circuit is not None and lane.circuit.is_unsaved:
            self._claimer.wake()
        lane.running -= 1

    def _return(self, lane: Lane) -> None:
        if lane.running >= lane.limit or lane.pace is not None:  # there may be more in the store
            self._claimer.wake()
        lane.return_places(1)

    # -- running ------------------------------------------------------------------------------

    def _start(self, lane: Lane, claim: Claim) -> None:
        if claim.replay_id is not None:
            lane.replaying += 1
        if self._is_stopping:
            self._unrun.append(claim.delivery_id)
            self._leave(lane, claim)
            return
        # Held here until it has run: the loop itself holds tasks only weakly.
        self._tasks[claim.delivery_id] = asyncio.get_running_loop().create_task(
            self._run(lane, claim)
        )

    async def _run(self, lane: Lane, claim: Claim) -> None:
        has_place = True
        try:
            finish = await lane.run(claim)
        except Outlived:
            has_place = False  # and the delivery itself may be running again
            self._over(lane, claim)
        except Postpone as postponed:
            await self._recorder.give_back([claim.delivery_id], after_seconds=postponed.seconds)
        except asyncio.CancelledError as error:
            if self._is_stopping:
                raise
            self._recorder.record_fault(claim, error)
        except Exception as error:  # a task's border: nobody else would hear of it
            self._recorder.record_fault(claim, error)
        else:
            self._recorder.record(claim, finish)
        finally:
            if has_place:
                self._tasks.pop(claim.delivery_id, None)
                self._leave(lane, claim)

    def abandon(self, claim: Claim, finish: Finish) -> None:
        """End the attempt of a run that does not end.

        What the run does from now on is void. It keeps its place in the lane, so that of one lane
        at most `limit` go on like this.
        """
        lane = self._lanes.get(claim.name) or self._leaving[claim.name]
        self._abandoned[claim.delivery_id, claim.attempt] = self._tasks.pop(claim.delivery_id)
        lane.abandoned += 1
        self._leave(lane, claim)
        log.error(
            "handler.abandoned",
            name=claim.name,
            delivery_id=format_delivery_id(claim.delivery_id),
            attempt=claim.attempt,
            abandoned=lane.abandoned,
        )
        if lane.is_stopped:
            log.error(
                "handler.stopped",
                name=claim.name,
                abandoned=lane.abandoned,
                remedy="let it end at its timeout, then restart; its deliveries wait meanwhile",
            )
        self._recorder.record(claim, finish)

    def _over(self, lane: Lane, claim: Claim) -> None:
        """An abandoned run has ended after all."""
        was_stopped = lane.is_stopped
        lane.abandoned -= 1
        self._abandoned.pop((claim.delivery_id, claim.attempt), None)
        log.warning("handler.ended_late", name=lane.name,
                    delivery_id=format_delivery_id(claim.delivery_id))  # fmt: skip
        if was_stopped and not lane.is_stopped:
            log.warning("handler.goes_on", name=lane.name)
        self._claimer.wake()

    def _on_recorded(self, claim: Claim, finish: Finish) -> None:
        """The end of an attempt is committed."""
        if finish.state.is_final:
            self.backlog.change(-1)
        if finish.deliveries or finish.messages:
            more = sum(new.hold is None for staged in finish.messages for new in staged.deliveries)
            self.backlog.change(len(finish.deliveries) + more)
        if finish.messages or finish.deliveries or finish.key is not None:
            self._claimer.wake()
        if finish.state is not State.SUCCEEDED:
            _log_failure(claim, finish)

    async def _count_forever(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            try:
                await self.count_waiting()
                await self.circuits.look(names=self._lanes)
                self.backlog.note_counted()
            except StoreError as error:
                self.backlog.note_uncounted(error)

    async def count_waiting(self) -> None:
        """See what is held, and what waits for nobody. Raises StoreError."""
        self.held = await self._store.count_held()
        waiting = await self._store.waiting()
        self.without_lane = {
            name: count for name, count in waiting.items() if name not in self._lanes
        }


def _log_failure(claim: Claim, finish: Finish) -> None:
    fields: Mapping[str, object] = {
        "delivery_id": format_delivery_id(claim.delivery_id),
        "event_id": claim.event.id,
        "name": claim.name,
        "attempt": finish.number,
        "error_class": finish.error_class,
    }
    if finish.state is State.DEAD:
        # The reason has the error in it, and why that was the last one.
        log.error("delivery.dead", **fields, reason=finish.reason)
    else:
        assert finish.due_ms is not None, "what is tried again is due some time"
        wait = max(0.0, finish.due_ms / 1000 - time.time())
        log.warning("delivery.retrying", again_in_seconds=round(wait, 1), **fields,
                    error=finish.error)  # fmt: skip
