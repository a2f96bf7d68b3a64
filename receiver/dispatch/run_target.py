"""Sends what was claimed to its target, and says how it ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from receiver.dispatch.ending import FINAL, Ending, RetryRules
from receiver.dispatch.lane import Postpone
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.model import Outcome
from receiver.notify import SendResult, Target
from receiver.retry import names_result
from receiver.store.base import Claim, Finish
from receiver.templates.values import event_url

_NOT_BEGUN = frozenset({"TargetBusy", "NoThread"})
"""What a target says when nothing was sent: it hangs in an earlier send."""
_WAIT_SECONDS = 5.0


SendClaim = Callable[[Claim], Awaitable[SendResult]]
"""Sends what a delivery is about, once. Like `Target.send` it raises nothing, and ends in time."""


def message_to(target: Target, public_url: str | None = None) -> SendClaim:
    """Sends the delivery's message to the target.

    One that has to be cut names its event: by a link, where this server's address is known.
    """

    async def send(claim: Claim) -> SendResult:
        message = claim.message
        assert message is not None, "a target's delivery has a message"
        message = message.noted(claim.note)
        whole_at = (
            event_url(public_url, claim.event.id) or f"clarihook events show {claim.event.id}"
        )
        return await target.send(replace(message, whole_at=whole_at))

    return send


@dataclass(frozen=True, kw_only=True)
class TargetRunner:
    """Sends to one target; one for each of them."""

    send: SendClaim
    rules: RetryRules
    circuit: TargetCircuit | None = None

    async def __call__(self, claim: Claim) -> Finish:
        """Send once. Raises Postpone if it could not even begin.

        At a stop it ends by itself: with an attempt whose outcome is unknown.
        """
        ending = Ending(claim, self.rules)
        if (expired := ending.expired()) is not None:
            return expired
        if self.circuit is not None and not self.circuit.begin():
            raise Postpone(0.0)
        try:
            result = await self.send(claim)
        except asyncio.CancelledError:
            # Not given back as unrun: what was on its way may have arrived.
            return ending.cut_off("Stopped", "cut off by a stop; it may have arrived")
        if self.circuit is not None:
            self.circuit.judge(result)
        if result.error_class in _NOT_BEGUN:
            raise Postpone(result.retry_after_seconds or _WAIT_SECONDS)
        finish = self._finish(ending, result)
        if result.retry_after_seconds is None:
            return finish
        until_ms = int((time.time() + result.retry_after_seconds) * 1000)
        return finish._replace(rest_until_ms=until_ms)

    def _finish(self, ending: Ending, result: SendResult) -> Finish:
        if result.outcome is Outcome.DELIVERED:
            return ending.succeeded(status_code=result.status_code)
        error_class = result.error_class or "SendError"
        error = result.error or "the target did not take the message"
        policy, status_code = ending.policy, result.status_code
        if names_result(policy.final, error_class, status_code):
            reason = f"{FINAL}: {error_class}"
            return ending.dead(
                error_class, error, reason=reason, traceback=result.traceback,
                status_code=status_code,
            )  # fmt: skip
        is_permanent = result.outcome is Outcome.PERMANENT
        if is_permanent and not names_result(policy.retry_on, error_class, status_code):
            return ending.dead(error_class, error, status_code=status_code)
        return ending.failed(
            error_class,
            error,
            outcome=Outcome.TRANSIENT if is_permanent else result.outcome,
            after_seconds=result.retry_after_seconds,
            traceback=result.traceback,
            status_code=status_code,
        )
