"""Runs one claimed delivery of a handler, and says how it ended."""

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.deadline import Deadline, DeadlineExceeded, Outlived
from receiver.dispatch.ending import FINAL, Ending, RetryRules
from receiver.dispatch.threads import Call, HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.errors import Reject, Retry, Skip
from receiver.model import Outcome
from receiver.notify.outbox import Outbox
from receiver.registry import Context, Handler, Resources, SchemaError
from receiver.store.base import Claim, Finish
from receiver.traces import error_text, error_trace

GRACE_SECONDS = 1.0
"""How long a run that was cancelled at its timeout may take to end."""

Abandon = Callable[[Claim, Finish], None]
"""Ends the attempt of a run that goes on all the same; see `Dispatcher.abandon`."""


@dataclass(frozen=True, kw_only=True)
class HandlerRunner:
    """Runs a handler; one for each of them."""

    handler: Handler
    resources: Resources
    outbox: Outbox
    rules: RetryRules
    timeout_seconds: float
    threads: HandlerThreads
    watchdog: Watchdog
    abandon: Abandon

    async def __call__(self, claim: Claim) -> Finish:
        """Run the handler once.

        Raises only Outlived, when a run ends that was abandoned, and CancelledError at a stop.
        """
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
            arguments = (argument, context) if self.handler.wants_context else (argument,)
            run = self._run_on_loop if self.handler.is_async else self._run_in_thread
            await run(arguments, functools.partial(self._give_up, claim, ending))
        except Skip as signal:
            reason = f"skipped: {signal.reason}" if signal.reason else "skipped"
        except Outlived:
            raise
        except BaseException as error:  # a handler that calls sys.exit() ends only itself
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return self._failed(ending, error)
        if context.staged:
            await self.outbox.catch_up()
        reasons = [*([reason] if reason else []), *context.notes]
        return ending.succeeded(
            reason="; ".join(reasons) or None,
            messages=self.outbox.stage(context.staged, claim.event),
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
                shown = error_trace(error, self.rules.redact, own_file=__file__)
        name, text = type(error).__name__, error_text(error)
        if ending.policy.is_final(error):
            return ending.dead(name, text, reason=f"{FINAL}: {name}", traceback=shown)
        return ending.failed(name, text, traceback=shown)

    def _give_up(self, claim: Claim, ending: Ending) -> None:
        """End the attempt of a run that can't be ended."""
        what = "ignored its cancellation" if self.handler.is_async else "can't be cancelled"
        text = (
            f"the handler did not end within {self.timeout_seconds:g} s; it {what} and still "
            "runs, but nothing that it stages is kept"
        )
        if ending.policy.is_final(TimeoutError(text)):
            finish = ending.dead("TimeoutError", text, reason=f"{FINAL}: TimeoutError")
        else:
            finish = ending.failed("TimeoutError", text, outcome=Outcome.UNKNOWN)
        self.abandon(claim, finish)

    async def _run_on_loop(self, arguments: Sequence[Any], give_up: Callable[[], None]) -> None:
        self.watchdog.begin()
        try:
            with Deadline(self.timeout_seconds, grace_seconds=GRACE_SECONDS, give_up=give_up):
                _refuse_unrun(await self.handler.func(*arguments))
        finally:
            self.watchdog.end()

    async def _run_in_thread(self, arguments: Sequence[Any], give_up: Callable[[], None]) -> None:
        call = self.threads.submit(_outcome, functools.partial(self.handler.func, *arguments))
        told = asyncio.wrap_future(call)
        try:
            has_ended = await self._ends_in_time(call, told)
        except asyncio.CancelledError:
            if not _is_cancelled() or call.cancel():
                raise
            # Under way: a stop gives it the last moments to end, a second cancellation does not.
            has_ended = True
        if not has_ended:
            self.threads.abandon(call)
            give_up()
            await _over(told)
            raise Outlived
        error, seconds = await told
        if error is not None:
            raise error
        if seconds > self.timeout_seconds:
            raise DeadlineExceeded

    async def _ends_in_time(self, call: Call[Any], told: "asyncio.Future[Any]") -> bool:
        """Wait for a thread to begin and to end it; False once it has run for too long."""
        left_seconds = self.timeout_seconds
        while not call.done():
            await asyncio.wait([told], timeout=left_seconds)
            if call.begun_at is not None:  # waiting for a free thread does not count
                left_seconds = call.begun_at + self.timeout_seconds - time.monotonic()
                if left_seconds <= 0:
                    return call.done()
        return True


def _outcome(call: Callable[[], Any]) -> tuple[BaseException | None, float]:
    """What the call raised and how long it took.

    Returned, not raised: a future can't hold a StopIteration, and whoever awaits it would wait
    for ever.
    """
    begun = time.monotonic()
    try:
        _refuse_unrun(call())
    except BaseException as error:
        return error, time.monotonic() - begun
    return None, time.monotonic() - begun


async def _over(told: "asyncio.Future[Any]") -> None:
    """Wait for an abandoned call to end, or for a stop."""
    with contextlib.suppress(asyncio.CancelledError):
        await told


def _refuse_unrun(result: object) -> None:
    """Raise TypeError for a result that is work which nobody does: it would count as done."""
    if result is None:
        return
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
    elif not (inspect.isawaitable(result) or inspect.isasyncgen(result)):
        return
    kind = type(result).__name__
    raise TypeError(
        f"the handler returned a {kind} that nobody runs: await it, in an `async def` handler"
    )


def _is_cancelled() -> bool:
    """Whether it is this task that somebody cancels, not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
