"""receiver.testing runs a handler as dispatch would, and shows what it did."""

import asyncio
import inspect
import json
from typing import Any

import httpx2
import pytest

from receiver import Context, Event, Reject, Retry, Skip, on
from receiver.errors import ConfigError, UsageError
from receiver.events import CreditsLow
from receiver.registry import SchemaError
from receiver.testing import ApiCall, handler_of, make_event, run_handler, run_handler_async

TYPE = "billing.credits_low"


@on(TYPE)
async def speak(event: CreditsLow, ctx: Context) -> None:
    ctx.notify("ops", title=f"{event.data.remaining:g} left")
    await ctx.store.set("count", await ctx.store.get("count", 0) + 1)


@on("*")
async def steer(event: dict[str, Any], ctx: Context) -> None:
    ctx.notify("ops", title="staged before the end")
    await ctx.store.set("touched", True)
    endings = {"skip": Skip("nothing new"), "retry": Retry("busy", after=7), "no": Reject("bad")}
    raise endings.get(event["data"]["end"], KeyError("lost"))


@pytest.mark.parametrize(
    "event",
    [
        {"event": TYPE, "data": {"remaining": 9}},
        b'{"event": "billing.credits_low", "data": {"remaining": 9}}',
        CreditsLow.model_validate({"event": TYPE, "data": {"remaining": 9}}),
        make_event(TYPE, {"remaining": 9}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_may_come_in_any_form(event: Any) -> None:
    run = run_handler(speak, event)
    assert run.outcome == "succeeded", run.reason
    assert [message.title for message in run.messages] == ["9 left"]


def test_the_store_goes_from_run_to_run() -> None:
    first = run_handler(speak, TYPE, data={"remaining": 9})
    second = run_handler(speak, TYPE, data={"remaining": 8}, store=first.values)
    assert (first.values, second.values) == ({"count": 1}, {"count": 2})


@pytest.mark.parametrize(
    ("end", "outcome", "reason", "keeps"),
    [
        ("skip", "skipped", "nothing new", True),
        ("retry", "retry", "busy", False),
        ("no", "rejected", "bad", False),
        ("crash", "failed", "KeyError: 'lost'", False),
    ],
)
def test_only_a_success_keeps_what_was_staged(
    end: str, outcome: str, reason: str, keeps: bool
) -> None:
    run = run_handler(steer, "x", data={"end": end}, store={"old": 1})
    assert (run.outcome, run.reason) == (outcome, reason)
    assert bool(run.messages) is keeps
    assert run.values == ({"old": 1, "touched": True} if keeps else {"old": 1})
    assert run.error is not None


def test_a_payload_that_does_not_fit_is_rejected() -> None:
    run = run_handler(speak, "goal.milestone_reached", data={})
    assert run.outcome == "rejected"
    assert isinstance(run.error, SchemaError)


def test_the_api_answers_from_a_table_and_its_calls_are_kept() -> None:
    @on("x")
    async def ask(event: Event, ctx: Context) -> None:
        usage = await ctx.claribi.billing.usage()
        await ctx.claribi.data_sources.sync(usage.ai_credits.remaining)

    usage = {
        "billing_period": {"start": "2025-07-01", "end": "2025-07-31"},
        "ai_credits": {"total": 10, "used": 3, "remaining": 7},
    }
    api = {"GET billing/usage/": usage, "POST data-sources/7/sync/": 503}
    run = run_handler(ask, "x", claribi=api)
    assert run.api_calls[0] == ApiCall(method="GET", path="billing/usage/")
    assert [str(call) for call in run.api_calls] == list(api)
    assert type(run.error).__name__ == "ServiceUnavailableError"


def test_without_answers_the_api_is_not_configured() -> None:
    @on("x")
    async def ask(event: Event, ctx: Context) -> None:
        await ctx.claribi.billing.usage()

    assert isinstance(run_handler(ask, "x").error, ConfigError)


def test_there_is_no_network_unless_it_is_given() -> None:
    @on("x")
    async def fetch(event: Event, ctx: Context) -> None:
        response = await ctx.http.get("http://example.com/")
        ctx.notify("ops", title=response.text)

    run = run_handler(fetch, "x")
    assert isinstance(run.error, UsageError)
    assert "pass http= to run_handler" in run.reason

    async def with_a_client() -> str:
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, text="hello"))
        async with httpx2.AsyncClient(transport=transport) as http:
            return (await run_handler_async(fetch, "x", http=http)).messages[0].title

    assert asyncio.run(with_a_client()) == "hello"


def test_channels_can_be_those_of_the_deployment() -> None:
    run = run_handler(speak, TYPE, data={"remaining": 9}, channels={"finance"})
    assert (run.outcome, run.messages) == ("failed", ())
    assert "no channel 'ops'; there are: finance" in run.reason


def test_attempt_and_replay_are_told() -> None:
    seen: list[tuple[int, bool]] = []

    @on("x")
    def look(event: Event, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.replaying))

    run_handler(look, "x", attempt=3)
    run_handler(look, "x", replaying=True)
    assert seen == [(3, False), (1, True)]


def test_a_handler_that_hangs_is_cut_off() -> None:
    @on("x", timeout="10ms")
    async def hang(event: Event) -> None:
        await asyncio.Event().wait()

    run = run_handler(hang, "x")
    assert (run.outcome, type(run.error)) == ("failed", TimeoutError)


def test_what_can_not_be_run_is_refused() -> None:
    with pytest.raises(UsageError, match="is no handler: put @on"):
        run_handler(json.dumps, "x")
    with pytest.raises(UsageError, match="`data` goes with an event's type"):
        run_handler(speak, {"event": "x"}, data={})


def test_a_function_makes_the_handler_that_loading_it_would() -> None:
    handler = handler_of(speak)
    assert handler.name == "test_testing.speak"
    assert handler.matches(TYPE)
    assert not inspect.iscoroutinefunction(run_handler)
