"""What a target is: the seam between the dispatcher and whatever carries a message away."""

from dataclasses import dataclass
from typing import Protocol

from receiver.model import Message, Outcome

MAX_ERROR_BYTES = 2048
"""The store keeps this much of an error (RELIABILITY.md F: reflected answers stay short)."""


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """How one attempt to send one message to one target ended."""

    outcome: Outcome
    status_code: int | None = None
    """The HTTP status that the target answered, where it speaks HTTP and answered."""
    retry_after_seconds: float | None = None
    """How long the target asked us to wait (0 to 3600), or how long its pace still holds."""
    error_class: str | None = None
    """A short stable word for the cause (`ConnectionError`, `HTTPStatus`, `TargetBusy`, …)."""
    error: str | None = None
    """What went wrong and what to do; secrets masked, one line, at most 2 KiB."""


DELIVERED = SendResult(outcome=Outcome.DELIVERED)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a target's delivery is tried, and the waits between (seconds, before jitter)."""

    attempts: int
    schedule_seconds: tuple[float, ...]


class Target(Protocol):
    """One recipient. Every message to it is one delivery of its own.

    A target sends one message at a time. It belongs to the event loop that first uses it.
    """

    @property
    def name(self) -> str:
        """`channel/position-service`, e.g. `ops/1-slack`: the name of its deliveries."""
        ...

    def wait_seconds(self) -> float:
        """How long its pace (`rate`) asks to wait; 0 means: send now.

        A dispatcher asks before it claims or runs a delivery, and puts the delivery off by
        that long *without* using up an attempt. Each answer above 0 is another slot, so many
        waiting deliveries spread out over the coming slots and do not all come back at once.
        """
        ...

    async def send(self, message: Message) -> SendResult:
        """Send it once. Never raises for what a target does, and never waits for ever.

        It ends within the channel's timeout, counted from when the target's turn comes; a
        caller that did not ask `wait_seconds` may wait some seconds more for the pace.
        """
        ...

    async def close(self) -> None:
        """Stop using the target. Does not wait for a send that hangs."""
        ...
