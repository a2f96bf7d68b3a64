"""What a handler is given."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import structlog

from receiver.errors import ConfigError
from receiver.model import Attachment, Event, Severity
from receiver.registry import Context, Resources

MakeContext = Callable[..., Context]


@pytest.fixture
def make_context(resources: Resources, make_event: Callable[[bytes], Event]) -> MakeContext:
    event = make_event(b'{"event": "a"}')
    return partial(Context, event=event, handler_name="sample.take", resources=resources)


def test_messages_are_staged_in_order(make_context: MakeContext) -> None:
    ctx = make_context()
    attachment = Attachment(name="a.txt", content_type="text/plain", content=b"x")
    ctx.notify("ops", title="first", body="text", severity="critical", attachments=[attachment])
    ctx.notify("finance", title="second", format="markdown")
    first, second = ctx.staged
    assert (first.channel, first.severity) == ("ops", Severity.CRITICAL)
    assert first.attachments == (attachment,)
    assert (second.body, second.severity, second.format) == ("second", Severity.INFO, "markdown")


def test_an_unknown_channel_is_refused_at_once_with_the_nearest_name(
    make_context: MakeContext,
) -> None:
    ctx = make_context()
    with pytest.raises(ConfigError, match="no channel 'opps'; did you mean 'ops'"):
        ctx.notify("opps", title="x")
    with pytest.raises(ConfigError, match=r"\[channels\.zzz\] in config/clarihook\.toml"):
        ctx.notify("zzz", title="x")
    assert ctx.staged == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"title": "x", "severity": "loud"}, "use info, success, warning, critical"),
        ({"title": "x", "format": "rtf"}, "use text, markdown or html"),
        ({"title": " ", "body": ""}, "needs a title or a body"),
    ],
)
def test_a_message_that_can_not_be_sent_is_refused(
    make_context: MakeContext, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        make_context().notify("ops", **options)


def test_a_runaway_handler_stages_no_more_than_100_messages(make_context: MakeContext) -> None:
    ctx = make_context()
    for number in range(100):
        ctx.notify("ops", title=str(number))
    with pytest.raises(ValueError, match="more than 100 messages"):
        ctx.notify("ops", title="one more")


def test_the_store_reads_what_was_committed_and_its_own_writes(
    make_context: MakeContext, resources: Any
) -> None:
    resources.values["sample.take", "count"] = "3"
    resources.values["other.take", "mine"] = '"theirs"'

    async def use(ctx: Context) -> None:
        assert await ctx.store.get("count") == 3
        assert await ctx.store.get("mine", "nothing") == "nothing"
        await ctx.store.set("count", 4)
        assert await ctx.store.get("count") == 4
        await ctx.store.delete("count")
        assert await ctx.store.get("count", 0) == 0
        await ctx.store.set("names", ["ü"])

    ctx = make_context()
    asyncio.run(use(ctx))
    assert ctx.staged_values == {"count": None, "names": '["ü"]'}
    assert resources.values["sample.take", "count"] == "3"


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("k", {1, 2}, TypeError),
        ("k", float("nan"), ValueError),
        ("k", "x" * 65_536, ValueError),
        ("k", "\ud800", ValueError),
        ("", 1, ValueError),
        ("k" * 201, 1, ValueError),
    ],
)
def test_the_store_refuses_what_it_can_not_keep(
    make_context: MakeContext, key: str, value: Any, error: type[Exception]
) -> None:
    ctx = make_context()
    with pytest.raises(error):
        asyncio.run(ctx.store.set(key, value))
    assert ctx.staged_values == {}


def test_an_unused_store_has_nothing_to_commit(make_context: MakeContext) -> None:
    assert make_context().staged_values == {}


def test_the_idempotency_key_is_stable_over_attempts_and_new_in_each_replay(
    make_context: MakeContext,
) -> None:
    first, retried = make_context(), make_context(attempt=2)
    replayed, again = (make_context(replay_id=number) for number in (1, 2))
    assert first.idempotency_key == retried.idempotency_key == "evt_0123/sample.take"
    assert len({ctx.idempotency_key for ctx in (first, replayed, again)}) == 3
    assert (first.replaying, replayed.replaying) == (False, True)


def test_the_deadline_is_an_aware_moment(make_context: MakeContext) -> None:
    ctx = make_context(deadline=1_000_000_000.0)
    assert ctx.deadline == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert ctx.seconds_left < 0
    assert make_context().deadline is None
    assert make_context().seconds_left == float("inf")


def test_the_log_says_who_speaks(make_context: MakeContext) -> None:
    with structlog.testing.capture_logs() as logs:
        ctx = make_context(attempt=2)
        ctx.log.info("sample.taken", rows=3)
    assert logs == [
        {
            "event": "sample.taken", "log_level": "info", "rows": 3,
            "handler": "sample.take", "event_id": "evt_0123", "attempt": 2,
        }
    ]  # fmt: skip


def test_a_context_takes_no_attributes_of_its_own(make_context: MakeContext) -> None:
    with pytest.raises(AttributeError):
        make_context().colour = "red"  # type: ignore[attr-defined]


def test_a_template_says_it_in_every_format(
    make_context: MakeContext,
) -> None:
    ctx = make_context()
    ctx.notify("ops", template="data_source.sync_failed", values={"name": "Shop", "failures": 2})
    (message,) = ctx.staged
    assert message.title == "Shop failed to sync, 2 times in a row"
    assert set(message.bodies) == {"markdown", "html"}
