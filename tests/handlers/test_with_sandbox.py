"""The shipped handlers against the real sandbox, over real HTTP: no table of answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from claribi.sandbox import Sandbox
from claribi.sandbox.events import example_data
from receiver.pytest_plugin.sandbox import ServedSandbox
from receiver.registry import Registry
from receiver.testing import HandlerRun, run_handler_async

Run = Callable[..., HandlerRun]


@pytest.fixture
def sandbox(claribi_sandbox: ServedSandbox) -> Sandbox:
    return claribi_sandbox.sandbox


@pytest.fixture
def run(shipped: Registry, claribi_sandbox: ServedSandbox) -> Run:
    """Run the handler of an event that the sandbox would send."""

    def run_one(event_type: str, api_key: str = Sandbox.api_key, **options: Any) -> HandlerRun:
        handler = shipped.matching(event_type)[-1]
        data = example_data(claribi_sandbox.sandbox.world, event_type)

        async def call() -> HandlerRun:
            async with claribi_sandbox.client(api_key, retries=0) as client:
                return await run_handler_async(
                    handler, event_type, data=data, claribi=client, channels={"ops"}, **options
                )

        return asyncio.run(call())

    return run_one


def test_a_failed_sync_is_described_and_started_once(run: Run, sandbox: Sandbox) -> None:
    first = run("data_source.sync_failed")
    second = run("data_source.sync_failed", store=first.values)
    assert "Data source: Legacy MySQL, mysql, error, last synced" in first.messages[0].body
    assert "Re-sync: started, takes about" in first.messages[0].body
    assert "2 times in a row" in second.messages[0].title
    assert sandbox.count_calls("POST", "data-sources/5/sync/") == 1


def test_a_lost_answer_to_the_resync_is_not_asked_for_again(run: Run, sandbox: Sandbox) -> None:
    """The sync started, but nobody heard it: the streak counts it as asked for."""
    sandbox.fail_next(status=503, method="POST", path="data-sources/*", after=True, drop=True)
    first = run("data_source.sync_failed")
    assert "Re-sync: may have been started" in first.messages[0].body
    run("data_source.sync_failed", store=first.values)
    assert sandbox.count_calls("POST", "data-sources/5/sync/") == 1


def test_a_key_that_may_not_sync_is_told_and_the_alert_goes_out(run: Run, sandbox: Sandbox) -> None:
    done = run("data_source.sync_failed", api_key=sandbox.read_only_key)
    assert done.outcome == "succeeded"
    assert "Re-sync: could not be started (POST data-sources/5/sync/: 403" in done.messages[0].body


def test_a_report_is_announced_with_its_author(run: Run) -> None:
    (message,) = run("report.generated").messages
    assert message.title == "Report ready: Weekly Sales Summary"
    assert "Author: Jane Smith" in message.body


def test_low_credits_come_with_usage_and_prices(run: Run, sandbox: Sandbox) -> None:
    sandbox.set_credits(120)
    (message,) = run("billing.credits_low").messages
    assert message.title == "The AI credits are low: 120 left"
    assert "Professional (yours)" in message.body
    assert "At this rate they" in message.body


def test_a_milestone_is_celebrated(run: Run) -> None:
    (message,) = run("goal.milestone_reached").messages
    assert message.title == "Milestone reached: Q3 revenue is at 76 %"


@pytest.mark.parametrize(
    "event_type", ["data_source.sync_failed", "report.generated", "billing.credits_low"]
)
def test_an_outage_stops_no_message(run: Run, sandbox: Sandbox, event_type: str) -> None:
    sandbox.fail_next(10, status=503)
    done = run(event_type)
    assert done.outcome == "succeeded"
    assert "503" in done.messages[0].body
