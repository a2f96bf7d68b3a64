"""What the retry policy makes of failures: which are final, what comes too late, whose it is."""

import asyncio
import time
from typing import Any

import dispatch_parts as parts
import pytest
import structlog
from dispatch_parts import (
    RULES,
    TARGET,
    dispatching,
    event,
    handler_of,
    in_state,
    send,
    succeed,
)

from receiver import Retry
from receiver.dispatch import Lane
from receiver.dispatch.ending import RetryRules
from receiver.dispatch.intake import Planner
from receiver.dispatch.policies import HandlerPolicies
from receiver.dispatch.run_handler import HandlerRunner
from receiver.dispatch.run_target import TargetRunner, message_to
from receiver.model import Attempt, Delivery, Message, NewDelivery, Outcome, State
from receiver.notify import SendResult
from receiver.rate import Pace
from receiver.retry import RetryOptions, RetryPolicy
from receiver.store.base import Claim, StagedMessage
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000


def now_ms() -> int:
    return int(time.time() * 1000)


def rules(policy: RetryPolicy) -> RetryRules:
    return RetryRules(policy=lambda _source: policy, redact=RULES.redact)


def handler_lane(
    store: SqliteStore, func: Any, policy: RetryPolicy, *, timeout_seconds: float = 5.0
) -> Lane:
    return parts.handler_lane(store, func, timeout_seconds=timeout_seconds, rules=rules(policy))


async def run_one(
    store: SqliteStore, func: Any, policy: RetryPolicy, **options: Any
) -> tuple[Delivery, list[Attempt]]:
    async with dispatching(store, handler_lane(store, func, policy, **options)):
        delivery_id = await send(store, "h.test", attempts=policy.attempts)
        delivery = await in_state(store, delivery_id)
    return delivery, await store.attempts(delivery_id)


# -- final errors of handlers ----------------------------------------------------------------------


async def test_a_final_error_is_dead_at_once_and_keeps_its_traceback(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise UnicodeError("it will never be text")

    delivery, attempts = await run_one(store, handle, RetryPolicy(final=(ValueError,)))
    assert (delivery.state, delivery.attempts) == (State.DEAD, 1)
    assert delivery.reason == (
        "an error that the policy calls final: UnicodeError: it will never be text"
    )
    (attempt,) = attempts
    assert (attempt.outcome, attempt.error_class) == (Outcome.PERMANENT, "UnicodeError")
    assert attempt.traceback is not None
    assert "raise UnicodeError" in attempt.traceback


async def test_another_error_is_retried(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise OSError("it may pass")

    policy = RetryPolicy(attempts=3, waits=(0.001,), final=(ValueError, "KeyError"))
    delivery, attempts = await run_one(store, handle, policy)
    assert (delivery.state, len(attempts)) == (State.DEAD, 3)
    assert {each.outcome for each in attempts} == {Outcome.TRANSIENT}


async def test_a_timeout_can_be_final(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    policy = RetryPolicy(final=("TimeoutError",))
    delivery, (attempt,) = await run_one(store, handle, policy, timeout_seconds=0.02)
    assert delivery.state is State.DEAD
    assert attempt.error == "the handler did not end within 0.02 s"


async def test_a_retry_that_the_handler_asks_for_is_never_final(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise Retry("once more", after=0)

    policy = RetryPolicy(attempts=2, final=(Exception,))
    delivery, attempts = await run_one(store, handle, policy)
    assert [each.error for each in attempts] == ["once more"] * 2
    assert delivery.reason == "failed at attempt 2 of 2: Retry: once more"


async def test_an_error_without_a_word_is_told_by_its_class(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise MemoryError

    delivery, _ = await run_one(store, handle, RetryPolicy(attempts=1))
    assert delivery.reason == "failed at attempt 1 of 1: MemoryError"


# -- age -------------------------------------------------------------------------------------------


async def test_a_retry_that_would_come_too_late_is_not_made(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise ValueError("no")

    policy = RetryPolicy(waits=(60.0,), jitter=0, max_age_seconds=59)
    with structlog.testing.capture_logs() as logs:
        delivery, attempts = await run_one(store, handle, policy)
    assert (delivery.state, len(attempts)) == (State.DEAD, 1)
    (said,) = [line for line in logs if line["event"] == "delivery.dead"]
    assert said["reason"] == delivery.reason, "the log says why this was the last attempt"
    assert delivery.reason == (
        "failed at attempt 1 of 8, and a retry would come after max_age (59s): ValueError: no"
    )


async def test_a_wait_that_was_asked_for_ends_with_the_age_too(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise Retry("later", after="1h")

    delivery, _ = await run_one(store, handle, RetryPolicy(max_age_seconds=60))
    assert delivery.state is State.DEAD
    assert "after max_age (1m)" in (delivery.reason or "")


async def test_a_retry_that_nobody_ran_in_time_is_not_run_late(store: SqliteStore) -> None:
    """It was due in time, but the process was down; the first attempt is always made."""
    runs: list[str] = []

    async def handle(_event: dict[str, Any]) -> None:
        runs.append("ran")
        raise ValueError("no")

    policy = RetryPolicy(waits=(0.001,), max_age_seconds=600)
    made_ms = now_ms() - HOUR_MS
    fresh = await send(store, "h.test", received_ms=made_ms)
    tried = await send(store, "h.test", received_ms=made_ms)
    await store.claim({"h.test": 2}, now_ms=made_ms)
    await store.release([fresh])
    await store.close()  # `tried` was cut off: a rescue will have it retried
    after = SqliteStore(store.path)
    await after.open()
    async with dispatching(after, handler_lane(after, handle, policy)):
        late, first = [await in_state(after, each) for each in (tried, fresh)]
    assert (late.state, late.reason) == (
        State.DEAD, "TooOld: not run again: its max_age has passed",
    )  # fmt: skip
    assert (first.state, first.attempts) == (State.DEAD, 1)
    assert "after max_age (10m)" in (first.reason or "")
    assert runs == ["ran"]
    assert [each.error_class for each in await after.attempts(tried)] == ["Stopped", "TooOld"]
    await after.close()


async def test_a_revival_by_hand_makes_it_young_again(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise ValueError("no")

    policy = RetryPolicy(attempts=3, waits=(0.001,), max_age_seconds=600)
    async with dispatching(store, handler_lane(store, handle, policy)):
        old = await send(store, "h.test", attempts=3, received_ms=now_ms() - HOUR_MS)
        assert (await in_state(store, old)).attempts == 1
        assert await store.retry([old], now_ms=now_ms()) == [old]
        again = await in_state(store, old)
    assert again.attempts == 4
    assert (again.reason or "").startswith("failed at attempt 3 of 3: ")


# -- targets ---------------------------------------------------------------------------------------


class Answers:
    """A target that ends each send as it is told, then takes it."""

    name = TARGET

    def __init__(self, *results: SendResult) -> None:
        self.results = list(results)
        self.pace = Pace(None)

    async def send(self, _message: Message) -> SendResult:
        return self.results.pop(0) if self.results else SendResult(outcome=Outcome.DELIVERED)

    async def close(self) -> None:
        """Nothing."""


async def send_message(store: SqliteStore, policy: RetryPolicy, *results: SendResult) -> Any:
    """A message to a target that answers so: its delivery at the end, and its attempts."""

    async def says(claim: Claim) -> Any:
        message = Message(channel="ops", title="t", body="b")
        staged = StagedMessage(message, (NewDelivery("target", TARGET, policy.attempts),))
        return (await succeed(claim))._replace(messages=(staged,))

    runner = TargetRunner(send=message_to(Answers(*results)), rules=rules(policy))
    async with dispatching(store, Lane("h.says", says, 1), Lane(TARGET, runner, 1)):
        says_id = await send(store, "h.says")
        said = await in_state(store, says_id)
        (_, carried) = await store.deliveries_of(said.event_id)
        return await in_state(store, carried.id), await store.attempts(carried.id)


def refused(status: int | None, outcome: Outcome, error_class: str = "HTTPStatus") -> SendResult:
    return SendResult(outcome=outcome, status_code=status, error_class=error_class, error="it said")


@pytest.mark.parametrize(
    ("result", "final", "reason"),
    [
        (refused(503, Outcome.TRANSIENT), (503,), "HTTPStatus"),
        (refused(None, Outcome.TRANSIENT, "SSLError"), ("SSLError",), "SSLError"),
        (refused(None, Outcome.UNKNOWN, "ReadTimeout"), ("ReadTimeout",), "ReadTimeout"),
    ],
)
async def test_a_channel_can_call_more_final(
    store: SqliteStore, result: SendResult, final: tuple[int | str, ...], reason: str
) -> None:
    delivery, attempts = await send_message(store, RetryPolicy(final=final), result)
    assert (delivery.state, len(attempts)) == (State.DEAD, 1)
    assert delivery.reason == f"an error that the policy calls final: {reason}: it said"


@pytest.mark.parametrize(
    ("result", "retry_on"),
    [
        (refused(404, Outcome.PERMANENT), (404,)),
        (refused(None, Outcome.PERMANENT, "InvalidURL"), ("InvalidURL",)),
    ],
)
async def test_a_channel_can_have_permanent_refusals_retried(
    store: SqliteStore, result: SendResult, retry_on: tuple[int | str, ...]
) -> None:
    policy = RetryPolicy(waits=(0.001,), retry_on=retry_on)
    delivery, attempts = await send_message(store, policy, result, result)
    assert (delivery.state, delivery.attempts) == (State.SUCCEEDED, 3)
    assert [each.outcome for each in attempts] == [
        Outcome.TRANSIENT, Outcome.TRANSIENT, Outcome.DELIVERED,
    ]  # fmt: skip


async def test_a_traceback_of_a_target_is_kept(store: SqliteStore) -> None:
    result = SendResult(outcome=Outcome.TRANSIENT, error_class="RuntimeError", error="a bug",
                        traceback="Traceback …\nRuntimeError: a bug")  # fmt: skip
    for final in ((), ("RuntimeError",)):
        policy = RetryPolicy(attempts=1, final=final)
        _, (attempt,) = await send_message(store, policy, result)
        assert attempt.traceback == "Traceback …\nRuntimeError: a bug"


async def test_another_permanent_refusal_is_still_dead(store: SqliteStore) -> None:
    policy = RetryPolicy(waits=(0.001,), final=(503,), retry_on=(404,))
    delivery, _ = await send_message(store, policy, refused(403, Outcome.PERMANENT))
    assert (delivery.state, delivery.reason) == (State.DEAD, "HTTPStatus: it said")


async def test_a_targets_retry_after_past_max_age_is_dead(store: SqliteStore) -> None:
    busy = SendResult(outcome=Outcome.TRANSIENT, status_code=429, error_class="HTTPStatus",
                      error="429", retry_after_seconds=600.0)  # fmt: skip
    delivery, _ = await send_message(store, RetryPolicy(max_age_seconds=300), busy)
    assert delivery.state is State.DEAD
    assert "after max_age (5m)" in (delivery.reason or "")


# -- whose policy ----------------------------------------------------------------------------------


def test_a_plan_has_the_attempts_of_handler_source_or_default_in_this_order() -> None:
    policies = HandlerPolicies(
        default=RetryPolicy(attempts=8), sources={"shop": RetryOptions(attempts=4)}
    )

    async def own(_event: dict[str, Any]) -> None: ...

    async def none(_event: dict[str, Any]) -> None: ...

    handlers = [handler_of(own, attempts=2), handler_of(none)]
    planner = Planner(
        lambda _type: handlers,
        policies=policies,
        has_routes=lambda _source, _type: True,
        routes_name="routes",
        lane=lambda _name: None,
        stand_ins=["broken.*"],
    )

    def attempts(source: str) -> list[int]:
        new = event(source=source)
        return [each.max_attempts for each in planner.plan(source, new.type).for_event({})]

    assert attempts("shop") == [2, 4, 4, 4]
    assert attempts("claribi") == [2, 8, 8, 8]


async def test_a_failure_goes_by_the_policy_of_its_events_source(store: SqliteStore) -> None:
    policies = HandlerPolicies(
        default=RetryPolicy(waits=(3600.0,), jitter=0),
        sources={"shop": RetryOptions(waits=(60.0,))},
    )

    async def handle(_event: dict[str, Any]) -> None:
        raise ValueError("no")

    one = handler_lane(store, handle, RetryPolicy())
    assert isinstance(one.run, HandlerRunner)
    runner = HandlerRunner(
        **{**vars(one.run), "rules": RetryRules(policy=policies.of, redact=RULES.redact)}
    )
    async with dispatching(store, Lane("h.test", runner, 8)):
        waits = {}
        for source in ("shop", "claribi"):
            delivery_id = await send(store, "h.test", source=source)
            waiting = await in_state(store, delivery_id, State.RETRYING)
            (attempt,) = await store.attempts(delivery_id)
            waits[source] = (waiting.due_at - attempt.started_at).total_seconds()
    assert 60 <= waits["shop"] < 90
    assert 3600 <= waits["claribi"] < 3630
