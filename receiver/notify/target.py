"""What a target is: the seam between the dispatcher and whatever carries a message away."""

from dataclasses import dataclass
from typing import Protocol

from receiver.model import Message, Outcome
from receiver.notify.content import Content
from receiver.rate import Pace

MAX_ERROR_BYTES = 2048
"""The store keeps this much of an error (RELIABILITY.md F: reflected answers stay short)."""


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """How one attempt to send one message to one target ended."""

    outcome: Outcome
    status_code: int | None = None
    """The HTTP status that the target answered, where it speaks HTTP and answered."""
    retry_after_seconds: float | None = None
    """How long the target asked us to wait, 0 to 3600."""
    error_class: str | None = None
    """A short stable word for the cause (`ConnectionError`, `HTTPStatus`, `TargetBusy`, …)."""
    error: str | None = None
    """What went wrong and what to do; secrets masked, one line, at most 2 KiB."""
    traceback: str | None = None
    """Of what nobody had foreseen: an exception in a plugin. Secrets masked, at most 8 KiB."""


DELIVERED = SendResult(outcome=Outcome.DELIVERED)


class Target(Protocol):
    """One recipient. Every message to it is one delivery of its own.

    A target sends as many messages at a time as its channel's `concurrency` says. It belongs to
    the event loop that first uses it.
    """

    @property
    def name(self) -> str:
        """`channel/position-service`, e.g. `ops/1-slack`: the name of its deliveries."""
        ...

    @property
    def pace(self) -> Pace:
        """Its `rate`, and the rest that it asked for (Retry-After), on `time.monotonic()`.

        Whoever sends takes a token first. A dispatcher does so before it claims a delivery,
        which thus waits without using up an attempt.
        """
        ...

    async def send(self, message: Message) -> SendResult:
        """Send it once. Never raises for what a target does, and never waits for ever.

        It ends within the channel's timeout, counted from when its turn comes.
        """
        ...

    def prepare(self, message: Message) -> Content:
        """The text as it gets it, before that is fitted to what the service takes at a time.

        Blocking where the service is not known yet. Raises ConfigError for a URL that is wrong.
        """
        ...

    async def close(self) -> None:
        """Stop using the target. Does not wait for a send that hangs."""
        ...
