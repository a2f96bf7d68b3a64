"""Runs one claimed delivery of a handler, and says how it ended."""

import asyncio
import functools
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from receiver.deadline import Deadline, DeadlineExceeded
from receiver.dispatch.ending import Ending, RetryRules
from receiver.errors import Reject, Retry, Skip
from receiver.model import Message, NewDelivery
from receiver.registry import Context, Handler, Resources, SchemaError
from receiver.store.base import Claim, Finish, StagedMessage

MAX_TRACEBACK_CHARS = 8192

TargetDeliveries = Callable[[str], tuple[NewDelivery, ...]]
"""The deliveries that carry a message of this channel: one per target."""


@dataclass(frozen=True, kw_only=True)
class HandlerRunner:
    """Runs a handler; one for each of them."""

    handler: Handler
    resources: Resources
    target_deliveries: TargetDeliveries
    rules: RetryRules
    timeout_seconds: float
    threads: ThreadPoolExecutor

    async def __call__(self, claim: Claim) -> Finish:
        """Run the handler once. Raises nothing but CancelledError, at a stop."""
        ending = Ending(claim, self.rules)
        context = Context(
            event=claim.event,
            handler_name=self.handler.name,
            resources=self.resources,
            attempt=claim.attempt,
            deadline=ending.started + self.timeout_seconds,
            replay_id=claim.replay_id,
        )
        reason: str | None = None
        try:
            argument = self.handler.parse(claim.event)
            await self._call(argument, context)
        except SchemaError as error:
            return ending.dead("SchemaError", str(error), reason=SchemaError.reason)
        except Reject as signal:
            return ending.dead("Reject", signal.reason or "rejected by the handler")
        except Retry as signal:
            error_text = signal.reason or "the handler asked to run again"
            return ending.failed("Retry", error_text, after_seconds=signal.after_seconds)
        except Skip as signal:
            reason = f"skipped: {signal.reason}" if signal.reason else "skipped"
        except DeadlineExceeded:
            limit = f"{self.timeout_seconds:g} s"
            return ending.failed("TimeoutError", f"the handler did not end within {limit}")
        except Exception as error:
            return ending.failed(type(error).__name__, str(error), traceback=_shown(error))
        return ending.succeeded(
            reason=reason,
            messages=stage(context.staged, self.target_deliveries),
            values=context.staged_values,
        )

    async def _call(self, argument: Any, context: Context) -> None:
        arguments = (argument, context) if self.handler.wants_context else (argument,)
        if not self.handler.is_async:
            await self._call_in_thread(arguments)
            return
        with Deadline(self.timeout_seconds):
            await self.handler.func(*arguments)

    async def _call_in_thread(self, arguments: Sequence[Any]) -> None:
        """Run a sync handler. A thread can't be cut off: its place stays taken until it ends."""
        call = functools.partial(self.handler.func, *arguments)
        begun = time.monotonic()
        await asyncio.wrap_future(self.threads.submit(call))
        if time.monotonic() - begun > self.timeout_seconds:
            raise DeadlineExceeded


def stage(
    messages: Sequence[Message], target_deliveries: TargetDeliveries
) -> tuple[StagedMessage, ...]:
    """What a run said, each message with one delivery per target."""
    return tuple(StagedMessage(message, target_deliveries(message.channel)) for message in messages)


def _shown(error: Exception) -> str:
    """The traceback from the handler's own frame on; a long one keeps its end."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return text if len(text) <= MAX_TRACEBACK_CHARS else "…" + text[-MAX_TRACEBACK_CHARS:]
