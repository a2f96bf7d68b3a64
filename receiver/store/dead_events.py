"""What follows when a delivery becomes dead, in the same transaction: an event that tells of it,
and its message on the way to the fallback of its channel.
"""

import time
from collections.abc import Callable

import structlog

from receiver.store.base import DeadDelivery, FallBack, OnDead
from receiver.store.driver import sqlite3
from receiver.store.operations import rows_of
from receiver.store.queries import Queries

log = structlog.get_logger("receiver.store")


class DeadEvents:
    """Stores what `on_dead` and `fall_back` say. For the writer's thread alone."""

    def __init__(
        self,
        queries: Queries,
        *,
        on_dead: Callable[[], OnDead | None],
        fall_back: Callable[[], FallBack | None],
        next_number: Callable[[], int],
        told: Callable[[int], None],
    ) -> None:
        """`told` is called after a commit, with how many deliveries it made."""
        self._q = queries
        self._on_dead = on_dead
        self._fall_back = fall_back
        self._next_number = next_number
        self._told = told
        self._made = 0

    def begin(self) -> None:
        """A transaction begins: forget what one that was rolled back had made."""
        self._made = 0

    def tell_of(self, db: "sqlite3.Connection", delivery_id: int) -> None:
        """Store what follows a delivery that is dead by now, with its last attempt."""
        self._store_event(db, delivery_id)
        self._hand_on(db, delivery_id)

    def _hand_on(self, db: "sqlite3.Connection", delivery_id: int) -> None:
        """Give the message to the fallback's targets, to each of them once."""
        fall_back = self._fall_back()
        if fall_back is None:
            return
        ((kind, name),) = db.execute(self._q["kind_and_name"], (delivery_id,)).fetchall()
        if kind != "target":
            return
        now = int(time.time() * 1000)
        for new in fall_back(name):
            self._made += db.execute(
                self._q["insert_fallback"],
                (self._next_number(), new.name, new.max_attempts, now, delivery_id),
            ).rowcount

    def _store_event(self, db: "sqlite3.Connection", delivery_id: int) -> None:
        on_dead = self._on_dead()
        if on_dead is None:
            return
        row = db.execute(self._q["dead_delivery"], (delivery_id,)).fetchone()
        if row is None:  # a quiet replay made it: whoever runs that looks on, and nothing is sent
            return
        try:
            made = on_dead(DeadDelivery(*row))
        except Exception:  # it is dead all the same, or it would run for ever
            log.exception("store.dead_not_told", delivery_id=delivery_id)
            return
        if made is None:
            return
        rows, recorded = rows_of(*made, self._next_number)
        for each in rows:
            db.execute(self._q["insert_batch"], each)
        self._made += len(recorded.delivery_ids)

    def committed(self) -> None:
        """The transaction is committed."""
        if self._made:
            self._told(self._made)
