"""Each of the five events the whole way: a signed webhook, the shipped handlers, their messages."""

import asyncio

import pytest

from receiver.events import MODELS
from receiver.model import State
from receiver.pytest_plugin.deployed import Deployed, SendEvent
from receiver.pytest_plugin.sandbox import ServedSandbox


@pytest.mark.parametrize("event_type", MODELS)
def test_a_webhook_becomes_a_message(send_event: SendEvent, event_type: str) -> None:
    sent = send_event(event_type)
    assert set(sent.states.values()) == {State.SUCCEEDED}
    assert not sent.is_duplicate
    if event_type == "data_source.sync_completed":
        assert sent.messages == []  # nothing had failed before
    else:
        (message,) = sent.messages
        assert message.channel == "ops"


def test_a_failure_that_the_sandbox_sends_is_counted_with_the_next(
    clarihook: Deployed, claribi_sandbox: ServedSandbox, send_event: SendEvent
) -> None:
    sandbox = claribi_sandbox.sandbox
    asyncio.run(sandbox.fire("data_source.sync_failed", data_source_id=5))
    first, *_ = sandbox.deliveries
    assert first.status == "delivered"
    # The handler has it synced again, and the sandbox may have told by now that this failed too.
    told = send_event("data_source.sync_failed", {"data_source_id": 5})
    assert "times in a row" in told.messages[0].title
    assert sandbox.count_calls("POST", "data-sources/5/sync/") == 1
    assert asyncio.run(sandbox.drain())
