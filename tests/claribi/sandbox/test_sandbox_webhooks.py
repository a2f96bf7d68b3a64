"""The sender: signed, retried with the same id and body, bounded, never in its own way."""

import asyncio
import hashlib
import hmac
import json
import socket
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_server import Receiver, Running, law, receiving, running
from starlette.applications import Starlette

from claribi.sandbox import EVENT_TYPES, Sandbox, Settings, claribi_signer, create_app
from claribi.sandbox.events import KEPT_DELIVERIES, emit

SECRET = "made-up-secret-of-a-test"


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """The `claribi` preset, checked by its description in DESIGN.md and not by our own code."""
    parts = dict(part.split("=") for part in headers["x-claribi-signature"].split(","))
    wanted = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256)
    return parts["v1"] == wanted.hexdigest() and abs(int(parts["t"]) - time.time()) < 60


def test_webhooks_are_signed_with_the_webhooks_own_secret(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url, secret=SECRET)
    served.sandbox.add_webhook(receiver.url)
    served.fire("report.generated")
    (first, second) = sorted(
        receiver.requests, key=lambda request: not is_signed(*request, secret=SECRET)
    )
    assert is_signed(*first, secret=SECRET)
    assert is_signed(*second, secret=served.sandbox.webhook_secret)
    assert first[1] == second[1]
    assert first[0]["content-type"] == "application/json"


def test_a_signature_is_of_real_time_even_when_the_sandboxs_time_was_moved(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url, secret=SECRET)
    served.sandbox.advance(timedelta(days=2))
    served.fire("report.generated")
    assert is_signed(*receiver.requests[0], secret=SECRET)
    assert time.strftime("%Y") <= receiver.events[0]["timestamp"][:4]


def test_a_signer_that_is_passed_in_makes_the_headers(receiver: Receiver) -> None:
    def sign(body: bytes, message_id: str, now: float) -> list[tuple[str, str]]:
        return [("X-Test", f"{message_id} {len(body)} {now > 1e9}")]

    with running(webhook_urls=[receiver.url], signer=sign) as fresh:
        (delivery,) = fresh.fire("report.generated")
        own = receiver.requests[0][0]
        assert own["x-test"] == f"{delivery.message_id} {len(delivery.body)} True"
        assert "x-claribi-signature" not in own
        fresh.sandbox.add_webhook(receiver.url, signer=claribi_signer(SECRET))
        fresh.fire("report.generated")
        assert any("x-claribi-signature" in headers for headers, _ in receiver.requests)


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "something.new"])
def test_any_event_can_be_fired_with_fields_of_ones_own(
    served: Running, receiver: Receiver, event_type: str
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.fire(event_type, report_id=15, extra={"a": [1]})
    (event,) = receiver.events
    assert list(event) == ["event", "timestamp", "data"]
    assert event["event"] == event_type
    assert event["data"].items() >= {"report_id": 15, "extra": {"a": [1]}}.items()


def test_a_refused_webhook_is_sent_again_with_the_same_id_and_body(
    served: Running, receiver: Receiver
) -> None:
    receiver.statuses += [500, 404, 302]
    served.sandbox.add_webhook(receiver.url, secret=SECRET)
    (delivery,) = served.fire("report.generated")
    served.drain()
    assert len(receiver.requests) == 4
    assert len({body for _, body in receiver.requests}) == 1
    assert {headers["x-claribi-delivery"] for headers, _ in receiver.requests} == {
        delivery.message_id
    }
    assert all(is_signed(*request, secret=SECRET) for request in receiver.requests)
    assert delivery.status == "delivered"
    assert [attempt.status_code for attempt in delivery.attempts] == [500, 404, 302, 202]
    assert delivery.attempts[0].answer == "said 500"


def test_the_sender_gives_up_after_its_last_wait() -> None:
    settings = Settings(webhook_backoff_seconds=(1, 1))
    with receiving() as receiver, running(settings=settings, webhook_urls=[receiver.url]) as fresh:
        receiver.statuses += [503] * 10
        (delivery,) = fresh.fire("report.generated")
        fresh.drain()
        assert (delivery.status, len(delivery.attempts)) == ("failed", 3)
        assert len(receiver.requests) == 3


def test_waits_grow_and_are_over_when_time_is_moved(receiver: Receiver) -> None:
    with running(speed=0.001, webhook_urls=[receiver.url]) as fresh:
        receiver.statuses += [503, 503]
        (delivery,) = fresh.fire("report.generated")
        waits = []
        for attempts in (1, 2):
            assert len(delivery.attempts) == attempts
            wait = delivery.due_at - fresh.sandbox.world.clock.now()
            waits.append(round(wait / 1000))
            ticket = fresh.sandbox.world.bell.ticket
            fresh.sandbox.advance(timedelta(seconds=wait + 1))
            _until_attempts(fresh, delivery.id, attempts + 1, ticket)
        assert waits == [5, 30]
        assert delivery.status == "delivered"


def _until_attempts(fresh: Running, number: int, attempts: int, ticket: int) -> None:
    """Wait for the bell, not for a time."""

    async def wait(ticket: int) -> None:
        async with asyncio.timeout(10):
            while len(fresh.sandbox.state.deliveries[number].attempts) < attempts:
                await fresh.sandbox.world.bell.wait(ticket)
                ticket = fresh.sandbox.world.bell.ticket

    asyncio.run(wait(ticket))


def test_nobody_there_is_a_failed_attempt(served: Running) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    webhook = served.sandbox.add_webhook(url)
    (delivery,) = served.fire("report.generated")
    assert delivery.attempts[0].status_code is None
    assert "Connect" in (delivery.attempts[0].error or "")
    served.sandbox.remove_webhook(webhook.id)
    served.drain()
    assert delivery.status == "failed"


@pytest.mark.parametrize("url", ["http://", "http://[", "nonsense", "http://a b/", "ftp://x/"])
def test_an_impossible_url_fails_and_stops_nothing(
    served: Running, receiver: Receiver, url: str
) -> None:
    served.sandbox.add_webhook(url)
    served.sandbox.add_webhook(receiver.url)
    bad, good = served.fire("report.generated")
    assert bad.attempts[0].error
    assert good.status == "delivered"


def test_a_signer_that_breaks_stops_nothing(served: Running, receiver: Receiver) -> None:
    def broken(body: bytes, message_id: str, now: float) -> list[tuple[str, str]]:
        raise RuntimeError("no key")

    served.sandbox.add_webhook(receiver.url, signer=broken)
    served.sandbox.add_webhook(receiver.url)
    bad, good = served.fire("report.generated")
    assert bad.attempts[0].error == "RuntimeError: no key"
    assert good.status == "delivered"


def test_a_receiver_that_never_answers_costs_one_time_limit(receiver: Receiver) -> None:
    with socket.socket() as deaf, running(settings=Settings(webhook_timeout_seconds=0.2)) as fresh:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        fresh.sandbox.add_webhook(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        fresh.sandbox.add_webhook(receiver.url)
        slow, good = fresh.fire("report.generated")
        assert slow.attempts[0].error == "no answer in time"
        assert good.status == "delivered"


def test_webhooks_get_only_the_events_they_want(served: Running) -> None:
    with receiving() as some, receiving() as every:
        served.sandbox.add_webhook(some.url, events=["data_source.*", "billing.credits_low"])
        served.sandbox.add_webhook(every.url)
        for event_type in EVENT_TYPES:
            served.fire(event_type)
        assert sorted(some.types) == [
            "billing.credits_low",
            "data_source.sync_completed",
            "data_source.sync_failed",
        ]
        assert sorted(every.types) == sorted(EVENT_TYPES)


def test_no_two_events_have_the_same_body(served: Running, receiver: Receiver) -> None:
    """A receiver that knows no id takes equal bodies for one event."""
    served.sandbox.add_webhook(receiver.url)
    for _ in range(5):
        served.fire("report.generated")
    assert len({body for _, body in receiver.requests}) == 5
    stamps = [event["timestamp"] for event in receiver.events]
    assert len(set(stamps)) == 5


@law
@given(st.integers(0, 3 * KEPT_DELIVERIES), st.integers(0, 50))
def test_the_record_of_deliveries_is_bounded_and_keeps_what_waits(ended: int, waiting: int) -> None:
    sandbox: Sandbox = create_app().state.sandbox
    sandbox.add_webhook("http://127.0.0.1:9/")
    template = emit(sandbox.world, "x", {})[0]
    deliveries = sandbox.state.deliveries
    deliveries.clear()
    for number in range(ended + waiting):
        status = "delivered" if number < ended else "pending"
        copy = template.model_copy(update={"id": number + 10, "status": status})
        deliveries[copy.id] = copy
    emit(sandbox.world, "x", {})
    left = [one.status for one in sandbox.deliveries]
    assert left.count("pending") == waiting + 1
    assert left.count("delivered") == min(ended, KEPT_DELIVERIES)


@law
@given(
    st.binary(max_size=200), st.text(min_size=1, max_size=30), st.floats(0, 1e10, allow_nan=False)
)
def test_the_preset_signs_any_body(body: bytes, secret: str, now: float) -> None:
    ((name, value),) = claribi_signer(secret)(body, "msg_1", now)
    assert name == "X-ClariBI-Signature"
    stamp = str(int(now))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    assert value == f"t={stamp},v1={digest}"


def test_an_app_that_is_not_served_says_so() -> None:
    app: Starlette = create_app()
    with pytest.raises(RuntimeError, match="isn't running"):
        Running(app.state.sandbox, "", None).drain()  # type: ignore[arg-type]


def test_data_may_have_any_field_names(served: Running, receiver: Receiver) -> None:
    served.sandbox.add_webhook(receiver.url)
    data = {"self": 1, "event_type": 2, "event": 3, "": 4}
    served.control("POST", "events/", {"event": "something.new", "data": data})
    assert receiver.events[0]["data"] == data


def test_bodies_are_plain_json(served: Running, receiver: Receiver) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.fire("something.new", text="é\u2028\U0001f600")
    body = receiver.requests[0][1]
    assert body.isascii()
    assert json.loads(body)["data"]["text"] == "é\u2028\U0001f600"
