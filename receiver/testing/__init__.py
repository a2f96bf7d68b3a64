"""Run a handler in a test, or in a shell, with no server and no network.

    run = run_handler(alert_and_resync, "data_source.sync_failed", data={"data_source_id": 1})
    assert run.outcome == "succeeded"
    assert run.messages[0].title == "Data source 1 failed to sync"

What the handler staged is in the result; nothing is sent and nothing is kept.
"""

from receiver.testing.answers import Answers, ApiCall
from receiver.testing.events import EventLike, make_event
from receiver.testing.run import (
    HandlerRun,
    handler_of,
    load_handler,
    run_handler,
    run_handler_async,
)

__all__ = [
    "Answers",
    "ApiCall",
    "EventLike",
    "HandlerRun",
    "handler_of",
    "load_handler",
    "make_event",
    "run_handler",
    "run_handler_async",
]
