"""Retries beyond the matrix: waits, Retry-After, deadlines, and what happened to lost POSTs."""

import asyncio
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from client_faces import Face
from client_faults import (
    LOST_AFTER,
    LOST_BEFORE,
    REFUSED,
    TIMED_OUT,
    Fault,
    answered,
    transport_for,
)
from client_server import Recorder, Stage, base_url, listening, serve
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from claribi import (
    ApiStatusError,
    ClariBIError,
    ConnectError,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    ServiceUnavailableError,
    Timeout,
)
from claribi.hooks import Happening, RetryScheduled
from claribi.retry import CAP_SECONDS, retry_after_of, wait_before_retry
from claribi.sandbox import Sandbox, create_app


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def test_waits_double_with_full_jitter(face: Face, stage: Stage) -> None:
    client = face.client(
        **stage.key, transport=transport_for(face, [REFUSED] * 7), retries=7, jitter=lambda: 0.5
    )
    assert face.run(lambda: client.data_sources.get(1)).id == 1
    assert face.time.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_wait_is_never_over_its_cap(failed: int, jitter: float) -> None:
    assert 0 <= wait_before_retry(failed, None, jitter) < CAP_SECONDS


NOW = datetime(2025, 7, 15, 8, tzinfo=UTC)
AHEAD = NOW.replace(hour=9)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": http_date(NOW.replace(second=9))}, 9),
        ({"retry-after": http_date(NOW.replace(year=2024))}, 0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 30)}, 30),
        ({"retry-after": "2", "x-ratelimit-reset": str(int(NOW.timestamp()) + 30)}, 2),
        ({"retry-after": http_date(NOW.replace(second=9)), "date": http_date(NOW)}, 9),
        # The server's clock is an hour ahead of ours: its own Date says how long the wait is.
        ({"retry-after": http_date(NOW.replace(hour=9, second=9)), "date": http_date(AHEAD)}, 9),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Fri, 99 Xyz 2025 99:99:99 GMT"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers, NOW.timestamp()) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "date", "x-ratelimit-reset"]), st.text()))
def test_reading_retry_after_is_total(headers: dict[str, str]) -> None:
    seconds = retry_after_of(headers, NOW.timestamp())
    assert seconds is None or seconds >= 0


def test_retry_after_of_the_sandbox_is_waited_for(face: Face, stage: Stage) -> None:
    stage.sandbox.fail_next(1, status=429, retry_after_seconds=7)
    client = face.client(**stage.key)
    assert face.run(lambda: client.data_sources.get(1)).id == 1
    assert face.time.slept == [7]


def test_retry_after_as_a_date_is_waited_for(face: Face, stage: Stage) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    fault = answered(
        503, retry_after=http_date(now.replace(year=now.year + 1)), date=http_date(now)
    )
    client = face.client(**stage.key, transport=transport_for(face, [fault]))
    with pytest.raises(ServiceUnavailableError) as caught:
        face.run(lambda: client.data_sources.get(1))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 360 * 86_400
    assert face.time.slept == []


def test_retry_after_of_zero_seconds_is_one_too(face: Face, stage: Stage) -> None:
    """It says as well that the API itself refused: even what costs credits is sent again."""
    transport = transport_for(face, [answered(503, retry_after="0")])
    client = face.client(**stage.key, transport=transport)
    assert face.run(lambda: client.analytics.query("What sold best?")).credits_used == 1
    assert face.time.slept == [0]


@pytest.mark.parametrize("seconds", ["61", "3600"])
def test_wait_over_a_minute_is_raised_at_once(seconds: str, face: Face, stage: Stage) -> None:
    transport = transport_for(face, [answered(429, retry_after=seconds)])
    client = face.client(**stage.key, transport=transport)
    with pytest.raises(RateLimitError) as caught:
        face.run(lambda: client.data_sources.get(1))
    assert caught.value.retry_after == float(seconds)
    assert (transport.sent, face.time.slept) == (1, [])


def test_wait_past_the_deadline_is_raised_at_once(face: Face, stage: Stage) -> None:
    transport = transport_for(face, [answered(429, retry_after="30")] * 9)
    client = face.client(
        **stage.key, transport=transport, retries=9, timeout=Timeout(total_seconds=100)
    )
    with pytest.raises(RateLimitError):
        face.run(lambda: client.data_sources.get(1))
    assert face.time.slept == [30, 30, 30]


def test_refused_connection_is_tried_again(face: Face) -> None:
    with listening() as listener:  # bound, but nobody listens on it
        client = face.client(base_url=base_url(listener), api_key="k", jitter=lambda: 1.0)
        with pytest.raises(ConnectError) as caught:
            face.run(lambda: client.reports.create(name="x", template="sales_summary"))
    assert face.time.slept == [0.5, 1.0]
    assert str(caught.value.request) == "POST reports/"


def test_server_that_comes_up_is_reached(face: Face) -> None:
    """The server starts while the client waits for its second attempt."""
    with listening() as listener, ExitStack() as stack:

        def start(happening: Happening) -> None:
            if isinstance(happening, RetryScheduled):
                stack.enter_context(serve(create_app(), listener))

        settings = {"base_url": base_url(listener), "api_key": Sandbox.api_key}
        client = face.client(**settings, hooks=[start])
        assert face.run(lambda: client.analytics.query("What sold best?")).credits_used == 1


def test_read_timeout_of_a_real_server(face: Face) -> None:
    with hanging() as url:
        limits = Timeout(read_seconds=0.05, query_seconds=0.05)
        client = face.client(base_url=url, api_key="k", retries=0, timeout=limits)
        with pytest.raises(RequestTimeoutError):
            face.run(lambda: client.data_sources.get(1))
        with pytest.raises(OutcomeUnknownError) as caught:
            face.run(lambda: client.analytics.query("?"))
    assert isinstance(caught.value.__cause__, RequestTimeoutError)


def test_deadline_ends_a_call_that_drips(face: Face) -> None:
    """Each read is in time, the call as a whole is not."""
    with dripping() as url:
        client = face.client(
            base_url=url, api_key="k", retries=0, timeout=Timeout(total_seconds=0.2)
        )
        with pytest.raises(RequestTimeoutError):
            face.run(lambda: client.data_sources.get(1))


@pytest.mark.parametrize("call", ["get", "create"])
def test_deadline_ends_a_call_whose_headers_drip(call: str, face: Face) -> None:
    with dripping_headers() as url:
        client = face.client(
            base_url=url, api_key="k", retries=0, timeout=Timeout(total_seconds=0.2)
        )
        if call == "get":
            with pytest.raises(RequestTimeoutError):
                face.run(lambda: client.data_sources.get(1))
        else:
            with pytest.raises(OutcomeUnknownError):
                face.run(lambda: client.dashboards.create(name="Dripped"))


@contextmanager
def dripping_headers() -> Iterator[str]:
    """A server that sends a header every 10 ms, and never its last one."""

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not is_over.wait(0.01):
                connection.sendall(b"x-drop: 1\r\n")

    def accept() -> None:
        with suppress(OSError):
            drip(listener.accept()[0])

    is_over = threading.Event()
    with listening() as listener:
        listener.listen()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield base_url(listener)
        finally:
            # Its client has gone by itself before the server lets go of it.
            thread.join(10)
            is_stuck = thread.is_alive()
            is_over.set()
            thread.join(10)
            assert not is_stuck, "the client still listens, long after its deadline"


def hanging() -> Any:
    """A server whose answers never come; it gives up when its client does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] in {"http", "lifespan"}
        while (await receive())["type"] not in {"http.disconnect", "lifespan.shutdown"}:
            if scope["type"] == "lifespan":
                await send({"type": "lifespan.startup.complete"})

    return serve(app)


def dripping() -> Any:
    """A server whose answers take 0.8 s, though a piece of them comes every 10 ms."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(80):
            await send({"type": "http.response.body", "body": b" " * 100, "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body"})

    return serve(app)


# What happened to a POST of unknown outcome


@pytest.mark.parametrize("fault", [LOST_BEFORE, LOST_AFTER], ids=str)
def test_lost_report_is_looked_up(fault: Fault, face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [fault]))
    with pytest.raises(OutcomeUnknownError, match=r"reconcile\(\)") as caught:
        face.run(lambda: client.reports.create(name="Lost", template="sales_summary"))
    found = face.run(caught.value.reconcile)
    assert found.happened == fault.is_done
    assert [report.name for report in found.found] == (["Lost"] if fault.is_done else [])


def test_lost_creations_are_looked_up(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [LOST_AFTER, None, TIMED_OUT]))
    with pytest.raises(OutcomeUnknownError) as caught:
        face.run(lambda: client.dashboards.create(name="Lost"))
    assert face.run(caught.value.reconcile).found[0].name == "Lost"
    with pytest.raises(OutcomeUnknownError) as caught:
        face.run(
            lambda: client.data_sources.create(name="Lost", type="database", engine="postgresql")
        )
    assert face.run(caught.value.reconcile).found[0].name == "Lost"


def test_lost_sync_is_looked_up(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [LOST_AFTER, None]))
    with pytest.raises(OutcomeUnknownError) as caught:
        face.run(lambda: client.data_sources.sync(1))
    found = face.run(caught.value.reconcile)
    assert "data source 1" in found.note


def test_lost_query_is_looked_up_by_its_credit(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [None, LOST_AFTER]))
    face.run(client.billing.usage)
    with pytest.raises(OutcomeUnknownError) as caught:
        face.run(lambda: client.analytics.query("What sold best?"))
    assert face.run(caught.value.reconcile).happened


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_ambiguous_answer_is_told(status: int, face: Face, stage: Stage) -> None:
    fault = answered(status, is_done=True)
    client = face.client(**stage.key, transport=transport_for(face, [fault]))
    with pytest.raises(OutcomeUnknownError) as caught:
        face.run(lambda: client.reports.create(name="Lost", template="sales_summary"))
    assert caught.value.status == status
    assert isinstance(caught.value.__cause__, ApiStatusError)
    assert face.run(caught.value.reconcile).happened


# 1,000 random fault schedules

SPOILT = [
    REFUSED,
    LOST_BEFORE,
    LOST_AFTER,
    TIMED_OUT,
    answered(429, retry_after="1"),
    answered(503),
    answered(503, retry_after="1"),
    *(answered(status) for status in (401, 408, 409, 500, 502, 504)),
    *(answered(status, is_done=True) for status in (408, 500, 502, 504)),
    None,
]


@pytest.fixture(scope="module")
def counting() -> Iterator[tuple[str, Recorder]]:
    """A lean server that answers a query and nothing else."""

    async def query(_: Request) -> JSONResponse:
        return JSONResponse({"credits_used": 1, "credits_remaining": 9})

    recorder = Recorder(Starlette(routes=[Route("/api/analytics/query/", query, methods=["POST"])]))
    with serve(recorder) as url:
        yield url, recorder


def test_paid_call_is_executed_at_most_once(face: Face, counting: tuple[str, Recorder]) -> None:
    """500 random schedules for each client: 1,000 in all."""
    url, recorder = counting
    dice = random.Random(20_250_715)
    for number in range(500):
        schedule = [dice.choice(SPOILT) for _ in range(dice.randint(0, 6))]
        transport = transport_for(face, schedule)
        client = face.client(base_url=url, api_key="k", transport=transport, retries=4)
        recorder.seen.clear()
        try:
            face.run(lambda client=client: client.analytics.query("What sold best?"))
            is_successful = True
        except OutcomeUnknownError:
            is_successful = False
        except ClariBIError:
            is_successful = False
            assert not recorder.seen, f"schedule {number}: {schedule}: executed, but said to be not"
        assert len(recorder.seen) <= 1, f"schedule {number}: {schedule}"
        assert not is_successful or len(recorder.seen) == 1
