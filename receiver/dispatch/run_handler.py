"""Runs one claimed delivery of a handler, and says how it ended."""

import asyncio
import functools
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from receiver.deadline import Deadline, DeadlineExceeded
from receiver.dispatch.ending import FINAL, Ending, RetryRules, storable
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
    threads: Executor

    async def __call__(self, claim: Claim) -> Finish:
        """Run the handler once. Raises nothing but CancelledError, at a stop."""
        ending = Ending(claim, self.rules)
        if (expired := ending.expired()) is not None:
            return expired
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
        except Skip as signal:
            reason = f"skipped: {signal.reason}" if signal.reason else "skipped"
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a handler that calls sys.exit() ends only itself
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return self._failed(ending, error)
        return ending.succeeded(
            reason=reason,
            messages=stage(context.staged, self.target_deliveries),
            values=context.staged_values,
        )

    def _failed(self, ending: Ending, error: BaseException) -> Finish:
        """How an attempt ends that raised."""
        match error:
            case SchemaError():
                return ending.dead("SchemaError", str(error), reason=SchemaError.reason)
            case Reject():
                return ending.dead("Reject", error.reason or "rejected by the handler")
            case Retry():
                text = error.reason or "the handler asked to run again"
                return ending.failed("Retry", text, after_seconds=error.after_seconds)
            case DeadlineExceeded():
                error = TimeoutError(f"the handler did not end within {self.timeout_seconds:g} s")
                shown = None
            case _:
                shown = _shown(error)
        name, text = type(error).__name__, _text_of(error)
        if ending.policy.is_final(error):
            return ending.dead(name, text, reason=f"{FINAL}: {name}", traceback=shown)
        return ending.failed(name, text, traceback=shown)

    async def _call(self, argument: Any, context: Context) -> None:
        arguments = (argument, context) if self.handler.wants_context else (argument,)
        if not self.handler.is_async:
            await self._call_in_thread(arguments)
            return
        with Deadline(self.timeout_seconds):
            await self.handler.func(*arguments)

    async def _call_in_thread(self, arguments: Sequence[Any]) -> None:
        """Run a sync handler. A thread can't be cut off: its place stays taken until it ends."""
        running = self.threads.submit(_timed, functools.partial(self.handler.func, *arguments))
        try:
            error, seconds = await asyncio.shield(asyncio.wrap_future(running))
        except asyncio.CancelledError:
            if not _is_cancelled() or running.cancel():
                raise
            # Under way: a stop gives it the last moments to end, a second cancellation does not.
            error, seconds = await asyncio.wrap_future(running)
        if error is not None:
            raise error
        if seconds > self.timeout_seconds:
            raise DeadlineExceeded


def stage(
    messages: Sequence[Message], target_deliveries: TargetDeliveries
) -> tuple[StagedMessage, ...]:
    """What a run said, each message with one delivery per target."""
    if not messages:
        return ()
    return tuple(
        StagedMessage(_storable(message), target_deliveries(message.channel))
        for message in messages
    )


def _storable(message: Message) -> Message:
    return replace(message, title=storable(message.title), body=storable(message.body))


def _timed(call: Callable[[], Any]) -> tuple[BaseException | None, float]:
    """What the call raised and how long it took; waiting for a free thread does not count.

    Returned, not raised: a future can't hold a StopIteration, and whoever awaits it would wait
    for ever.
    """
    begun = time.monotonic()
    try:
        call()
    except BaseException as error:
        return error, time.monotonic() - begun
    return None, time.monotonic() - begun


def _is_cancelled() -> bool:
    """Whether it is this task that somebody cancels, not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text can't be made)"


def _shown(error: BaseException) -> str:
    """The traceback from the handler's own frame on; a long one keeps its end."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return text if len(text) <= MAX_TRACEBACK_CHARS else "…" + text[-MAX_TRACEBACK_CHARS:]
