"""Workers and their leases: who runs deliveries, and who has died doing so.

A lease belongs to a worker, not to each delivery: one row to extend, however much runs. Its end
is told by the machine's monotonic clock, so that a jump of the wall clock ends no lease; the
machine's boot id tells a clock that started anew.
"""

import os
import time
from pathlib import Path

from receiver.model import Outcome, State
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0

_DIED = "WorkerDied"


class Leases:
    """This process's place among the workers of one database. Its methods take the connection."""

    def __init__(self, queries: Queries) -> None:
        self._q = queries
        self._machine = _machine()
        self.worker_id = 0

    def register(self, db: "sqlite3.Connection") -> int:
        """Become a worker, with a fresh lease; its number, which no other ever gets."""
        self.worker_id = self._insert(db, None)
        return self.worker_id

    def draw_number(self, db: "sqlite3.Connection") -> int:
        """A worker's number for one that makes deliveries but runs none."""
        number = self._insert(db, None)
        db.execute(self._q["delete_worker"], (number,))
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
        self._rescue(db, self.worker_id)
        db.execute(self._q["delete_worker"], (self.worker_id,))
        self.worker_id = 0

    def beat(self, db: "sqlite3.Connection") -> int:
        """Extend the lease and rescue what workers with an ended lease had; how many."""
        lease = (self._lease_end(), self.worker_id)
        if db.execute(self._q["extend_lease"], lease).rowcount == 0:
            # Taken for dead while it stood still. Without a row nobody would see it die.
            self._insert(db, self.worker_id)
        now = _monotonic_ms()
        dead = [
            worker
            for worker, machine, lease_end in db.execute(self._q["workers"]).fetchall()
            if worker != self.worker_id and (machine != self._machine or lease_end < now)
        ]
        return sum(self._bury(db, worker) for worker in dead)

    def rescue_all_others(self, db: "sqlite3.Connection") -> int:
        """Rescue what every other worker had: the owner's lock proves that all are dead."""
        workers = {row[0] for row in db.execute(self._q["workers"]).fetchall()}
        workers |= {row[0] for row in db.execute(self._q["running_workers"]).fetchall()}
        return sum(self._bury(db, worker) for worker in workers - {self.worker_id})

    def _bury(self, db: "sqlite3.Connection", worker: int) -> int:
        rescued = self._rescue(db, worker)
        db.execute(self._q["delete_worker"], (worker,))
        return rescued

    def _rescue(self, db: "sqlite3.Connection", worker: int) -> int:
        """Return a worker's running deliveries to the queue, or declare them dead.

        The claim has counted the attempt, so a delivery that kills its process every time runs
        out of attempts like any other.
        """
        now = _now_ms()
        orphans = db.execute(self._q["orphans"], (worker,)).fetchall()
        for delivery_id, number, tries, max_attempts, started_ms, name, key in orphans:
            error = "the process that ran it died or was cut off before it finished"
            db.execute(
                self._q["insert_attempt"],
                (delivery_id, number, started_ms, max(0, now - started_ms),
                 Outcome.UNKNOWN.value, _DIED, error, None, None),
            )  # fmt: skip
            is_dead = tries >= max_attempts
            state = State.DEAD if is_dead else State.RETRYING
            reason = f"{error}, at attempt {number} of {max_attempts}" if is_dead else error
            db.execute(
                self._q["rescue"],
                (state.value, now if is_dead else None, now, reason, delivery_id, worker),
            )
            if is_dead and key is not None:
                db.execute(self._q["pass_turn_of_key"], (name, key))
        return len(orphans)

    def _lease_end(self) -> int:
        return _monotonic_ms() + int(LEASE_SECONDS * 1000)


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
