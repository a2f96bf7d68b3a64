"""Ends attempts that need more than a plain success: failures, staged messages, kept values."""

import json
import time
from collections.abc import Callable

from receiver.model import NewDelivery, StagedMessage, State
from receiver.store import acknowledging, holding
from receiver.store.base import REST_UNTIL, Finish
from receiver.store.dead_events import DeadEvents
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries


class Finisher:
    """Writes one attempt's end at a time, inside the writer's transaction."""

    def __init__(
        self,
        connection: "sqlite3.Connection",
        queries: Queries,
        *,
        worker: Callable[[], int],
        next_number: Callable[[], int],
        dead_events: DeadEvents,
    ) -> None:
        self._db = connection
        self._q = queries
        self._next_number = next_number
        self._dead_events = dead_events
        self.worker = worker
        """This process's number among the workers."""

    def finish(self, finish: Finish) -> bool:
        """Write the end and all that commits with it; False, and nothing, if it is not ours."""
        now = int(time.time() * 1000)
        finalized = now if finish.state.is_final else None
        parameters = (finish.state.value, finalized, finish.due_ms, finish.reason,
                      finish.delivery_id, self.worker(), finish.number)  # fmt: skip
        if self._db.execute(self._q["finish"], parameters).rowcount != 1:
            return False
        self._db.execute(
            self._q["insert_attempt"],
            (finish.delivery_id, finish.number, finish.started_ms, finish.duration_ms,
             finish.outcome.value, finish.error_class, finish.error, finish.traceback,
             finish.status_code),
        )  # fmt: skip
        if finish.state is State.SUCCEEDED:
            self._keep_what_was_staged(finish, now)
        elif finish.state is State.DEAD:
            self._dead_events.tell_of(self._db, finish.delivery_id)
        if finish.rest_until_ms is not None:
            name, _ = self._db.execute(self._q["name_and_key"], (finish.delivery_id,)).fetchone()
            self._db.execute(
                self._q["set_value"], (name, REST_UNTIL, str(finish.rest_until_ms), now)
            )
        if finish.key is not None:
            self._pass_turn(finish.delivery_id, now)
        return True

    def _keep_what_was_staged(self, finish: Finish, now: int) -> None:
        event_seq, name, priority, replay_id, is_quiet = self._db.execute(
            self._q["delivery_of_message"], (finish.delivery_id,)
        ).fetchone()
        for which in finish.cancels:
            holding.cancel_held(self._db, which, now_ms=now)
        for staged in finish.messages:
            message_id = self._insert_message(finish.delivery_id, staged)
            for new in staged.deliveries:
                if is_quiet:
                    reason = f"shown, not sent: replay {replay_id} runs with --no-notify"
                    place = holding.Place(State.CANCELLED, now, reason)
                else:
                    place = self._place(new, event_seq, now)
                self._db.execute(
                    self._q["insert_message_delivery"],
                    (self._next_number(), event_seq, new.name, place.state.value, priority,
                     new.max_attempts, new.key, place.due_ms, now, message_id, replay_id,
                     now if place.state is State.CANCELLED else None, *place[2:], new.note),
                )  # fmt: skip
        for new in finish.deliveries:
            assert new.kind == "handler", "a target's delivery comes with its message"
            self._db.execute(
                self._q["insert_handler_delivery"],
                (self._next_number(), event_seq, new.name, priority, new.max_attempts,
                 new.key or "", now, replay_id, new.steps_aside and new.key is not None),
            )  # fmt: skip
            if new.steps_aside and new.key is not None:
                self._db.execute(self._q["pass_turn_of_key"], (new.name, new.key, now))
        for key, value in finish.values.items():
            if value is None:
                self._db.execute(self._q["delete_value"], (name, key))
            else:
                self._db.execute(self._q["set_value"], (name, key, value, now))

    def _place(self, new: NewDelivery, event_seq: int, now: int) -> holding.Place:
        hold = new.hold
        if hold is not None and hold.kind == "escalation":
            why_not = acknowledging.why_no_escalation(self._db, event_seq, new.name, hold.group)
            if why_not is not None:
                # With its group, by which an acknowledgement finds the one that waits.
                return holding.Place(State.CANCELLED, now, why_not, hold.kind, hold.group)
        return holding.place(self._db, new, now)

    def _insert_message(self, delivery_id: int, staged: StagedMessage) -> int:
        message = staged.message
        message_id = self._db.execute(
            self._q["insert_message"],
            (delivery_id, message.channel, message.title, message.body,
             message.severity.value, message.format,
             json.dumps(dict(message.bodies)) if message.bodies else None),
        ).lastrowid  # fmt: skip
        assert message_id is not None, "an insert has a row id"
        for position, attachment in enumerate(message.attachments):
            self._db.execute(
                self._q["insert_attachment"],
                (message_id, position, attachment.name, attachment.content_type,
                 attachment.content),
            )  # fmt: skip
        return message_id

    def _pass_turn(self, delivery_id: int, now: int) -> None:
        name, key = self._db.execute(self._q["name_and_key"], (delivery_id,)).fetchone()
        self._db.execute(self._q["pass_turn_of_key"], (name, key, now))
