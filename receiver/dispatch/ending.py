"""How an attempt ends: what its outcome means for the delivery's state."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from receiver.model import NewDelivery, Outcome, StagedMessage, State
from receiver.printable import storable
from receiver.retry import GiveUp, RetryPolicy
from receiver.store.base import CancelHeld, Claim, Finish
from receiver.traces import masked

MAX_ERROR_CHARS = 2048
MAX_CLASS_CHARS = 200
FINAL = "an error that the policy calls final"
"""How the reason begins of a delivery that is dead by its policy's `final`."""


@dataclass(frozen=True, kw_only=True)
class RetryRules:
    """When deliveries of one name are tried again."""

    policy: Callable[[str], RetryPolicy]
    """`policy(source)`: of a delivery whose event came from there."""
    redact: Callable[[str], str]
    """Masks the configured secrets in what is stored."""


class Ending:
    """Begun with an attempt; makes its Finish, with the time that it took."""

    __slots__ = ("_begun", "_claim", "_rules", "started")

    def __init__(self, claim: Claim, rules: RetryRules) -> None:
        self._claim = claim
        self._rules = rules
        self.started = time.time()
        self._begun = time.perf_counter()

    def succeeded(
        self,
        *,
        reason: str | None = None,
        messages: tuple[StagedMessage, ...] = (),
        values: Mapping[str, str | None] | None = None,
        deliveries: tuple[NewDelivery, ...] = (),
        cancels: tuple[CancelHeld, ...] = (),
        status_code: int | None = None,
    ) -> Finish:
        """It did what it was for."""
        return Finish(
            self._claim.delivery_id,
            self._claim.attempt,
            int(self.started * 1000),
            self._duration_ms(),
            State.SUCCEEDED,
            Outcome.DELIVERED,
            reason=None if reason is None else self._text(reason),
            key=self._claim.key,
            messages=messages,
            values=values or {},
            deliveries=deliveries,
            cancels=cancels,
            status_code=status_code,
        )

    def failed(
        self,
        error_class: str,
        error: str,
        *,
        outcome: Outcome = Outcome.TRANSIENT,
        after_seconds: float | None = None,
        traceback: str | None = None,
        status_code: int | None = None,
    ) -> Finish:
        """It failed in a way that may pass: retrying, or dead if the policy says so.

        A traceback comes masked; all other texts are masked here.
        """
        error_class, error = error_class[:MAX_CLASS_CHARS], self._text(error)
        claim = self._claim
        verdict = self.policy.next_try(
            tries=claim.tries,
            most=claim.max_attempts,
            since=claim.since_ms / 1000,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - jitter is no secret
            asked_seconds=after_seconds,
        )
        state, due, reason = State.RETRYING, None, None
        if isinstance(verdict, GiveUp):
            state, reason = State.DEAD, f"{verdict.reason}: {_said(error_class, error)}"
        else:
            due = verdict
        return self._finish(
            state,
            outcome=outcome,
            error_class=error_class,
            error=error,
            reason=reason,
            due=due,
            traceback=traceback,
            status_code=status_code,
        )

    def expired(self) -> Finish | None:
        """The end of a retry that comes too late to be made, by the policy's `max_age`.

        It was due in time, but nobody ran it: the process was down, or its lane was full.
        """
        claim = self._claim
        if claim.tries == 1 or not self.policy.is_too_old(self.started, claim.since_ms / 1000):
            return None
        return self.dead("TooOld", "not run again: its max_age has passed")

    def cut_off(self, error_class: str, error: str) -> Finish:
        """A stop cut it short after it began: it may have had its effect, and goes on at once.

        Even at the last attempt: a stop makes nothing dead.
        """
        return self._finish(
            State.RETRYING,
            outcome=Outcome.UNKNOWN,
            error_class=error_class,
            error=error,
            due=time.time(),
        )

    def dead(
        self,
        error_class: str,
        error: str,
        *,
        reason: str | None = None,
        traceback: str | None = None,
        status_code: int | None = None,
    ) -> Finish:
        """It can't succeed by trying again."""
        error_class, error = error_class[:MAX_CLASS_CHARS], self._text(error)
        return self._finish(
            State.DEAD,
            outcome=Outcome.PERMANENT,
            error_class=error_class,
            error=error,
            reason=_said(reason or error_class, error),
            traceback=traceback,
            status_code=status_code,
        )

    @property
    def policy(self) -> RetryPolicy:
        """By which this delivery is tried again."""
        return self._rules.policy(self._claim.event.source)

    def _finish(
        self,
        state: State,
        *,
        outcome: Outcome,
        error_class: str,
        error: str,
        reason: str | None = None,
        due: float | None = None,
        traceback: str | None = None,
        status_code: int | None = None,
    ) -> Finish:
        return Finish(
            self._claim.delivery_id,
            self._claim.attempt,
            int(self.started * 1000),
            self._duration_ms(),
            state,
            outcome,
            due_ms=None if due is None else int(due * 1000),
            reason=None if reason is None else self._text(reason),
            error_class=storable(error_class),
            error=self._text(error),
            traceback=None if traceback is None else storable(traceback),
            status_code=status_code,
            key=self._claim.key,
        )

    def _text(self, text: str) -> str:
        return storable(masked(text, self._rules.redact, MAX_ERROR_CHARS))

    def _duration_ms(self) -> float:
        return (time.perf_counter() - self._begun) * 1000


def _said(what: str, error: str) -> str:
    """`ValueError: no such user`, or just `KeyboardInterrupt` of one that says nothing."""
    return f"{what}: {error}" if error else what
