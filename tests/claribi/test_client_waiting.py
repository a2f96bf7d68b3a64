"""Waiting for reports and syncs: by polling, and woken by webhooks. No test really waits."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from client_faces import Face
from client_server import Stage, serve
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from claribi import (
    AsyncClariBI,
    ConfigurationError,
    NotFoundError,
    Subject,
    TaskFailedError,
    WaitTimeoutError,
    WebhookWaker,
)
from claribi.waker import subject_of

REPORT = {"id": 15, "name": "July", "status": "generating"}
SOURCE = {
    "id": 1,
    "name": "Warehouse",
    "type": "database",
    "engine": "postgresql",
    "status": "active",
    "last_synced_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
}


class Tasks:
    """A server whose report and source go through the states that a test writes down."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.looks = 0
        self.app = Starlette(
            routes=[
                Route("/api/reports/", self._start, methods=["POST"]),
                Route("/api/data-sources/1/sync/", self._start, methods=["POST"]),
                Route("/api/{kind}/{id:int}/", self._look),
            ]
        )

    async def _start(self, _: Request) -> JSONResponse:
        return JSONResponse({"id": 15, "task_id": "xyz789", "message": "Started"}, 202)

    async def _look(self, request: Request) -> JSONResponse:
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, int):
            return JSONResponse({}, state, {"retry-after": "40"})
        shape = REPORT if request.path_params["kind"] == "reports" else SOURCE
        return JSONResponse(shape | state)


@pytest.fixture(scope="module")
def _served() -> Iterator[tuple[str, Tasks]]:
    one = Tasks()
    with serve(one.app) as url:
        yield url, one


@pytest.fixture
def tasks(_served: tuple[str, Tasks]) -> tuple[str, Tasks]:
    _served[1].states, _served[1].looks = [], 0
    return _served


def report_task(face: Face, tasks: tuple[str, Tasks], *states: Any) -> Any:
    tasks[1].states = list(states)
    client = face.client(base_url=tasks[0], api_key="k", retries=0)
    return face.run(lambda: client.reports.create(name="July", template="sales_summary"))


def sync_task(face: Face, tasks: tuple[str, Tasks], *states: Any) -> Any:
    tasks[1].states = list(states)
    client = face.client(base_url=tasks[0], api_key="k", retries=0)
    return face.run(lambda: client.data_sources.sync(1))


def test_report_is_looked_at_less_and_less_often(face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, *[{}] * 7, {"status": "published", "content": {"rows": []}})
    report = face.run(task.wait)
    assert (report.status, report.content) == ("published", {"rows": []})
    assert face.time.slept == [5, 7.5, 11.25, 16.875, 25.3125, 30, 30]


@pytest.mark.parametrize("status", ["published", "draft", "scheduled", "archived"])
def test_any_final_status_ends_the_wait(status: str, face: Face, tasks: tuple[str, Tasks]) -> None:
    assert face.run(report_task(face, tasks, {"status": status}).wait).status == status
    assert face.time.slept == []


@pytest.mark.parametrize("status", ["generating", "pending", "queued", "processing", "running"])
def test_unfinished_status_goes_on(status: str, face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, {"status": status}, {"status": "published"})
    face.run(task.wait)
    assert face.time.slept == [5]


@pytest.mark.parametrize("status", ["failed", "error"])
def test_failed_report_raises(status: str, face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, {"status": status, "error": "No data"})
    with pytest.raises(TaskFailedError) as caught:
        face.run(task.wait)
    assert caught.value.subject == Subject("report", 15)
    assert caught.value.last.name == "July"


def test_wait_has_an_end(face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, {})
    with pytest.raises(WaitTimeoutError, match="12 s") as caught:
        face.run(lambda: task.wait(timeout=timedelta(seconds=12)))
    assert caught.value.last.status == "generating"
    assert face.time.slept == [5, 7]


def test_wait_of_nothing_looks_once(face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, {})
    with pytest.raises(WaitTimeoutError):
        face.run(lambda: task.wait(timeout=0))
    assert (tasks[1].looks, face.time.slept) == (1, [])
    with pytest.raises(ConfigurationError):
        face.run(lambda: task.wait(timeout=-1))


def test_outage_is_waited_out(face: Face, tasks: tuple[str, Tasks]) -> None:
    task = report_task(face, tasks, 503, 429, 500, {"status": "published"})
    assert face.run(task.wait).status == "published"
    assert face.time.slept == [40, 40, 40]


def test_report_that_is_gone_raises(face: Face, tasks: tuple[str, Tasks]) -> None:
    with pytest.raises(NotFoundError):
        face.run(report_task(face, tasks, 404).wait)


def moment(**later: float) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


@pytest.mark.parametrize(
    "last", [{"last_synced_at": moment(hours=1)}, {"last_synced_at": "2020-01-02T00:00:00Z"}]
)
def test_sync_ends_well(last: Any, face: Face, tasks: tuple[str, Tasks]) -> None:
    """Synced after it began; or, whatever the server's clock says, at another time than before."""
    task = sync_task(face, tasks, {}, {}, last)
    assert face.run(task.wait).last_synced_at.year >= 2020
    assert face.time.slept == [5, 7.5]


def test_sync_that_ended_before_the_first_look(face: Face, tasks: tuple[str, Tasks]) -> None:
    task = sync_task(face, tasks, {"last_synced_at": moment(seconds=1)})
    face.run(task.wait)
    assert face.time.slept == []


@pytest.mark.parametrize(
    "states",
    [
        ({}, {"status": "error"}),
        ({"status": "error", "updated_at": moment(hours=1)},),
    ],
    ids=["turned", "updated"],
)
def test_sync_ends_badly(states: Any, face: Face, tasks: tuple[str, Tasks]) -> None:
    task = sync_task(face, tasks, *states)
    with pytest.raises(TaskFailedError, match="data source 1"):
        face.run(task.wait)


def test_source_in_error_before_can_recover(face: Face, tasks: tuple[str, Tasks]) -> None:
    recovered = {"status": "active", "last_synced_at": moment(seconds=1)}
    task = sync_task(face, tasks, {"status": "error"}, {"status": "error"}, recovered)
    assert face.run(task.wait).status == "active"


def test_report_of_the_sandbox(face: Face, stage: Stage) -> None:
    """The sandbox's time is moved while the client believes that it sleeps."""
    client = face.client(**stage.key)
    task = face.run(lambda: client.reports.create(name="July", template="sales_summary"))
    assert (task.status, task.estimate) == ("generating", timedelta(seconds=30))
    stage.sandbox.advance(timedelta(minutes=1))
    report = face.run(task.wait)
    assert report.status == "published"
    assert report.content is not None


def test_sync_of_the_sandbox(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    task = face.run(lambda: client.data_sources.sync(1))
    assert task.estimate == timedelta(minutes=2)
    stage.sandbox.advance(timedelta(minutes=1))
    assert face.run(task.wait).last_synced_at > datetime.now(UTC) - timedelta(days=1)


# Woken by webhooks


def woken(tasks: tuple[str, Tasks], states: list[Any], *events: tuple[str, Any]) -> Any:
    """Waits for report 15 (or source 1) in a client that only webhooks can wake."""

    async def main() -> Any:
        waker = WebhookWaker()
        tasks[1].states = states
        looked = asyncio.Event()
        async with AsyncClariBI(
            base_url=tasks[0], api_key="k", waker=waker, hooks=[lambda _: looked.set()]
        ) as client:
            is_report = events[0][0].startswith("report")
            starting = (
                client.reports.create(name="July", template="sales_summary")
                if is_report
                else client.data_sources.sync(1)
            )
            task: Any = await starting
            looked.clear()
            waiting = asyncio.create_task(task.wait(timeout=3600))
            for event, data in events:
                await looked.wait()
                looked.clear()
                assert waker.wake(event, data) == 1
            try:
                return await waiting
            finally:
                assert waker.wake(*events[0]) == 0, "nobody listens after the wait"

    return asyncio.run(main())


def test_report_generated_wakes_the_wait(tasks: tuple[str, Tasks]) -> None:
    states = [{}, {"status": "published"}]
    assert woken(tasks, states, ("report.generated", {"report_id": 15})).status == "published"
    assert tasks[1].looks == 2


def test_sync_completed_ends_the_wait_whatever_the_source_shows(tasks: tuple[str, Tasks]) -> None:
    event = ("data_source.sync_completed", {"data_source_id": 1, "records_synced": 3})
    assert woken(tasks, [{}], event).id == 1


def test_sync_failed_ends_the_wait_with_its_reason(tasks: tuple[str, Tasks]) -> None:
    """Even for a source that was in error before, where polling can't tell."""
    event = ("data_source.sync_failed", {"data_source_id": 1, "error": "No route to host"})
    with pytest.raises(TaskFailedError, match="No route to host") as caught:
        woken(tasks, [{"status": "error"}], event)
    assert caught.value.last["error"] == "No route to host"
    assert tasks[1].looks == 1


def test_news_before_the_first_look_are_not_lost() -> None:
    async def main() -> None:
        waker = WebhookWaker()
        with waker.watch(Subject("report", 15)) as watch:
            assert waker.wake("report.generated", {"id": 15}) == 1
            news = await watch.wait(3600)
            assert news is not None
            assert news.event == "report.generated"
            assert await watch.wait(0) is None

    asyncio.run(main())


def test_waker_may_be_called_from_another_thread() -> None:
    async def main() -> None:
        waker = WebhookWaker()
        with waker.watch(Subject("data_source", 1)) as watch:
            data = {"data_source_id": 1}
            await asyncio.to_thread(waker.wake, "data_source.sync_completed", data)
            assert await watch.wait(3600) is not None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("goal.milestone_reached", {"goal_id": 1}),
        ("report.generated", {}),
        ("report.generated", {"report_id": "15"}),
        ("data_source.sync_failed", {"data_source_id": None}),
    ],
)
def test_events_that_name_nothing_wake_nobody(event: str, data: Any) -> None:
    assert WebhookWaker().wake(event, data) == 0


@given(st.text(), st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_reading_a_webhooks_subject_is_total(event: str, data: Any) -> None:
    subject = subject_of(event, data)
    assert subject is None or isinstance(subject.id, int)
