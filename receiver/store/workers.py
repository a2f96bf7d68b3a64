"""Workers and their leases: who runs deliveries, and who has died doing so.

A lease belongs to a worker, not to each delivery: one row to extend, however much runs. Its end
is told by the machine's monotonic clock, so that a jump of the wall clock ends no lease; the
machine's boot id tells a clock that started anew. Where the kernel can tell that a worker's
process is gone (`receiver.store.alive`), nobody waits for the lease's end: that is then for
processes that live and stand still.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from receiver.model import Outcome, State, format_delivery_id
from receiver.store.alive import LifeLock
from receiver.store.base import SUSPECT
from receiver.store.driver import sqlite3
from receiver.store.ids import WORKERS_APART
from receiver.store.queries import Queries

log = structlog.get_logger("receiver.store")

LEASE_SECONDS = 30.0
HEARTBEATS_PER_LEASE = 6

SUSPECT_DEATHS = 2
"""After so many deaths of its process a delivery runs apart from others of its kind: whatever
was in flight with the one that kills shares its first deaths, and only by itself is it told."""
FATAL_DEATHS = 3
"""A delivery is dead once so many processes have died, or stood still, while they ran it (R7)."""

_DIED = "WorkerDied"
_STOPPED = "Stopped"


class Leases:
    """This process's place among the workers of one database. Its methods take the connection."""

    def __init__(
        self,
        queries: Queries,
        life: LifeLock,
        tell_of_dead: Callable[["sqlite3.Connection", int], None],
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`tell_of_dead(connection, delivery)` is called of each that a rescue finds dead."""
        self._q = queries
        self._life = life
        self._tell_of_dead = tell_of_dead
        self._lease_ms = int(lease_seconds * 1000)
        self._machine = _machine()
        self._beaten_ms = -1
        """On the monotonic clock: the latest beat; below 0 before the first."""
        self._steady_ms = 0
        """The same: the first beat after which none was late."""
        self.worker_id = 0

    def register(self, db: "sqlite3.Connection") -> int:
        """Become a worker, with a fresh lease; its number, which no other ever gets."""
        self.worker_id = self._insert(db, None)
        # Before the commit: nobody may see the row without the sign of life.
        self._life.take(self.worker_id)
        return self.worker_id

    def draw_number(self, db: "sqlite3.Connection") -> int:
        """A worker's number for one that makes deliveries but runs none."""
        live = {row[0] % WORKERS_APART for row in db.execute(self._q["workers"]).fetchall()}
        while True:
            number = self._insert(db, None)
            db.execute(self._q["delete_worker"], (number,))
            if number % WORKERS_APART not in live:
                return number

    def _insert(self, db: "sqlite3.Connection", worker: int | None) -> int:
        row = db.execute(
            self._q["insert_worker"],
            (worker, os.getpid(), self._machine, _now_ms(), self._lease_end()),
        )
        assert row.lastrowid is not None, "an insert has a row id"
        return row.lastrowid

    def unregister(self, db: "sqlite3.Connection") -> None:
        """Stop being one; what it still had running was cut off, and is tried again."""
        self._rescue(db, self.worker_id, by_death=False)
        db.execute(self._q["delete_worker"], (self.worker_id,))
        self.worker_id = 0

    def beat(self, db: "sqlite3.Connection") -> int:
        """Extend the lease and rescue what dead workers had; how many deliveries."""
        lease = (self._lease_end(), self.worker_id)
        if db.execute(self._q["extend_lease"], lease).rowcount == 0:
            # Taken for dead while it stood still. Without a row nobody would see it die.
            self._insert(db, self.worker_id)
        dead = self.find_dead(db)
        now = _monotonic_ms()
        if not self._beats_on_time(now):
            self._steady_ms = now
        self._beaten_ms = now
        return sum(self._bury(db, worker) for worker in dead)

    def find_dead(self, db: "sqlite3.Connection") -> list[int]:
        """Other workers that are dead and not buried yet. Only reads.

        A lease that has ended tells of a process that stands still only to one that has beaten
        on time itself: after a full disk, a lock or a machine's pause nobody could beat, and the
        others have their turn first.
        """
        now = _monotonic_ms()
        known = db.execute(self._q["workers"]).fetchall()
        dead = [
            worker
            for worker, machine, lease_end in known
            if worker != self.worker_id
            and (
                machine != self._machine
                or not self._may_live(worker)
                or self._has_lapsed(lease_end, now)
            )
        ]
        # One that was taken for dead may have run something before it was a worker again.
        running = {row[0] for row in db.execute(self._q["running_workers"]).fetchall()}
        nameless = running - {row[0] for row in known} - {self.worker_id}
        return dead + [worker for worker in sorted(nameless) if not self._may_live(worker)]

    def _beats_on_time(self, now: int) -> bool:
        return self._beaten_ms >= 0 and now - self._beaten_ms <= self._lease_ms / 2

    def _has_lapsed(self, lease_end: int, now: int) -> bool:
        if lease_end >= now or not self._beats_on_time(now):
            return False
        # It ended while this worker could beat; or before, and there was time enough since.
        return lease_end >= self._steady_ms or now - self._steady_ms > self._lease_ms / 2

    def rescue_as_owner(self, db: "sqlite3.Connection") -> int:
        """Rescue what dead workers had, at the start of the database's owner; how many."""
        if self._life.is_held(self.worker_id) is None:
            # Only one process may run deliveries here, and the owner's lock proves that it is
            # this one.
            workers = {row[0] for row in db.execute(self._q["workers"]).fetchall()}
            workers |= {row[0] for row in db.execute(self._q["running_workers"]).fetchall()}
            return sum(self._bury(db, worker) for worker in workers - {self.worker_id})
        return sum(self._bury(db, worker) for worker in self.find_dead(db))

    def _may_live(self, worker: int) -> bool:
        return self._life.is_held(worker) is not False

    def _bury(self, db: "sqlite3.Connection", worker: int) -> int:
        rescued = self._rescue(db, worker, by_death=True)
        db.execute(self._q["delete_worker"], (worker,))
        return rescued

    def _rescue(self, db: "sqlite3.Connection", worker: int, *, by_death: bool) -> int:
        """Return a worker's running deliveries to the queue, or declare them dead.

        The claim has counted the attempt, so a delivery that is cut off every time runs out of
        attempts like any other; one that costs its process runs out of those sooner.
        """
        now = _now_ms()
        orphans = db.execute(self._q["orphans"], (worker,)).fetchall()
        for delivery_id, number, tries, most, deaths_before, started_ms, name, key in orphans:
            deaths = deaths_before + by_death
            error = (
                "the process that ran it died or stood still before it finished"
                if by_death
                else "cut off by a stop before it finished"
            )
            db.execute(
                self._q["insert_attempt"],
                (delivery_id, number, started_ms, max(0, now - started_ms),
                 Outcome.UNKNOWN.value, _DIED if by_death else _STOPPED, error, None, None),
            )  # fmt: skip
            reason = error
            is_dead = tries >= most or deaths >= FATAL_DEATHS
            if deaths >= FATAL_DEATHS:
                reason = (
                    f"{deaths} processes died or stood still while they ran it, the last one at "
                    f"attempt {number}: it may be what kills them (os._exit, memory, a crash in C)"
                )
            elif is_dead:
                reason = f"{error}, at attempt {number} of {most}"
            state = State.DEAD if is_dead else State.RETRYING
            is_suspect = deaths >= SUSPECT_DEATHS
            db.execute(
                self._q["rescue"],
                (state.value, now if is_dead else None, now, reason, deaths,
                 SUSPECT if is_suspect else None, delivery_id, worker),
            )  # fmt: skip
            if is_dead:
                # Before the commit: should that fail, it is found dead, and told, once more.
                log.error("delivery.dead", delivery_id=format_delivery_id(delivery_id), name=name,
                          attempt=number, error_class=_DIED if by_death else _STOPPED,
                          reason=reason)  # fmt: skip
                self._tell_of_dead(db, delivery_id)
            if is_dead and key is not None:
                db.execute(self._q["pass_turn_of_key"], (name, key, now))
        return len(orphans)

    def _lease_end(self) -> int:
        return _monotonic_ms() + self._lease_ms


def is_within_lease(machine: str, lease_end_ms: int) -> bool:
    """Whether a lease still lasts, as the `workers` table has it: of this boot, and not over."""
    return machine == _machine() and lease_end_ms >= _monotonic_ms()


def _now_ms() -> int:
    return int(time.time() * 1000)


def _monotonic_ms() -> int:
    return int(time.monotonic() * 1000)


def _machine() -> str:
    """Changes with every boot, and with it the zero of the monotonic clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # no Linux: there the owner's lock alone tells who is dead
        return "unknown"
