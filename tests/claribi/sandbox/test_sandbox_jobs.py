"""Syncs, reports and credits: what takes time, what ends badly, what runs out."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sandbox_server import Receiver, Running, running

from claribi.sandbox.bodies import ReportCreate
from claribi.sandbox.reports import report_cost

REPORT = {"name": "Growth", "template": "revenue_analysis", "data_source_ids": [1, 3]}


@pytest.fixture
def slow() -> Iterator[Running]:
    """A sandbox in which nothing ends unless time is moved."""
    with running(speed=0.001) as one:
        yield one


def test_a_sync_takes_the_sandboxs_time_and_then_shows(slow: Running) -> None:
    before = slow.api.get("data-sources/1/").json()
    assert slow.api.post("data-sources/1/sync/").status_code == 202
    assert slow.api.get("data-sources/1/").json() == before
    slow.sandbox.advance(timedelta(seconds=45 / 0.001))
    after = slow.api.get("data-sources/1/").json()
    assert after["last_synced_at"] > before["last_synced_at"]
    assert after["status"] == "active"


def test_a_sync_that_is_running_is_not_started_again(slow: Running) -> None:
    task_id = slow.api.post("data-sources/1/sync/").json()["task_id"]
    again = slow.api.post("data-sources/1/sync/")
    assert again.status_code == 409
    assert task_id in again.json()["detail"]
    assert slow.api.post("data-sources/2/sync/").status_code == 202


def test_syncs_end_by_themselves_at_the_sandboxs_speed(served: Running) -> None:
    for number in (1, 2, 3):
        served.api.post(f"data-sources/{number}/sync/")
    served.drain()
    assert not served.sandbox.state.jobs
    assert served.api.post("data-sources/1/sync/").status_code == 202


def test_a_broken_data_source_fails_to_sync_and_tells_why(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.api.post("data-sources/5/sync/")
    served.drain()
    assert served.api.get("data-sources/5/").json()["status"] == "error"
    (event,) = receiver.events
    assert event["event"] == "data_source.sync_failed"
    assert event["data"] == {
        "data_source_id": 5,
        "data_source_name": "Legacy MySQL",
        "error": "Connection to mysql.example.com:3306 refused",
        "duration_seconds": 30,
    }


def test_a_failure_can_be_planned_and_the_next_sync_repairs_it(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.sandbox.fail_next_job("sync", "disk full")
    served.api.post("data-sources/1/sync/")
    served.drain()
    assert served.api.get("data-sources/1/").json()["status"] == "error"
    served.api.post("data-sources/1/sync/")
    served.drain()
    assert served.api.get("data-sources/1/").json()["status"] == "active"
    assert receiver.events[0]["data"]["error"] == "disk full"
    assert "data_source.sync_completed" in receiver.types


def test_a_sync_moves_goals_and_a_milestone_is_told_once(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url, events=["goal.*"])
    for _ in range(2):
        served.api.post("data-sources/1/sync/")
        served.drain()
    (event,) = receiver.events
    assert event["event"] == "goal.milestone_reached"
    assert event["data"] == {
        "goal_id": 1,
        "goal_name": "Q3 revenue",
        "milestone": 75,
        "current_value": 75542.0,
        "target_value": 100000.0,
    }


@pytest.mark.parametrize(
    ("before", "told"), [(74_999.9, [75]), (75_000, []), (48_458, [50]), (0, []), (99_000, [100])]
)
def test_a_milestone_is_reached_when_a_sync_gets_to_it_and_not_when_it_was_there_before(
    served: Running, receiver: Receiver, before: float, told: list[int]
) -> None:
    served.sandbox.add_webhook(receiver.url, events=["goal.*"])
    goal = served.sandbox.state.goals[1]
    goal.current_value = before  # each sync adds 1,542
    served.api.post("data-sources/1/sync/")
    served.drain()
    assert [event["data"]["milestone"] for event in receiver.events] == told


def test_a_deleted_data_source_ends_its_sync_in_silence(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.api.post("data-sources/6/sync/")
    assert served.api.delete("data-sources/6/").status_code == 204
    assert served.api.get("data-sources/6/").status_code == 404
    served.drain()
    assert receiver.requests == []


def test_a_report_is_generated_and_then_has_content(slow: Running) -> None:
    started = slow.api.post("reports/", json=REPORT).json()
    report = slow.api.get(f"reports/{started['id']}/").json()
    assert (report["status"], report["content"]) == ("generating", None)
    slow.sandbox.advance(timedelta(seconds=30 / 0.001))
    report = slow.api.get(f"reports/{started['id']}/").json()
    assert report["status"] == "published"
    assert report["content"]["sections"]
    assert report["last_generated_at"] >= report["created_at"]


def test_a_generated_report_is_told(served: Running, receiver: Receiver) -> None:
    served.sandbox.add_webhook(receiver.url)
    started = served.api.post("reports/", json=REPORT).json()
    served.drain()
    (event,) = receiver.events
    assert event["event"] == "report.generated"
    assert event["data"] == {
        "report_id": started["id"],
        "report_name": "Growth",
        "status": "published",
        "task_id": started["task_id"],
        "credits_used": 3,
    }


def test_a_report_over_a_broken_data_source_fails_and_sends_nothing(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    started = served.api.post("reports/", json=REPORT | {"data_source_ids": [5]}).json()
    served.drain()
    report = served.api.get(f"reports/{started['id']}/").json()
    assert report["status"] == "failed"
    assert "Legacy MySQL" in report["error"]
    assert receiver.requests == []


def test_a_deleted_report_is_not_generated(served: Running, receiver: Receiver) -> None:
    served.sandbox.add_webhook(receiver.url)
    number = served.api.post("reports/", json=REPORT).json()["id"]
    assert served.api.delete(f"reports/{number}/").status_code == 204
    served.drain()
    assert receiver.requests == []
    assert served.api.get(f"reports/{number}/").status_code == 404


@pytest.mark.parametrize("path", ["reports/", "analytics/query/"])
def test_data_sources_must_exist_and_not_be_paused(served: Running, path: str) -> None:
    body = {"name": "n", "template": "t", "query": "q"}
    missing = served.api.post(path, json=body | {"data_source_ids": [1, 98, 99]})
    assert missing.status_code == 400
    assert len(missing.json()["detail"]["data_source_ids"]) == 2
    assert served.api.post(path, json=body | {"data_source_ids": [8]}).status_code == 422
    assert served.sandbox.state.credits_remaining == 1347


@pytest.mark.parametrize(
    ("sources", "parameters", "cost"),
    [
        ([], {}, 2),
        ([1], {}, 2),
        ([1, 1], {}, 2),
        ([1, 3], {"date_range": "last_30_days", "group_by": "week"}, 3),
        ([1], {"a": 1, "b": 2, "c": 3}, 3),
        ([1, 2, 3, 4, 5, 6], {"a": 1, "b": 2, "c": 3}, 5),
    ],
)
def test_reports_cost_two_to_five_credits(
    sources: list[int], parameters: dict[str, Any], cost: int
) -> None:
    body = ReportCreate(name="n", template="t", data_source_ids=sources, parameters=parameters)
    assert report_cost(body) == cost


def test_credits_go_down_everywhere_at_once(served: Running) -> None:
    served.api.post("reports/", json=REPORT)
    answer = served.api.post("analytics/query/", json={"query": "revenue?"}).json()
    assert answer["credits_remaining"] == 1343
    status = served.api.get("auth/status/").json()
    assert status["organization"]["ai_credits_remaining"] == 1343
    usage = served.api.get("billing/usage/").json()["ai_credits"]
    assert usage == {"total": 1500, "used": 157, "remaining": 1343}


def test_credits_run_out_and_nothing_is_taken_then(served: Running) -> None:
    served.sandbox.set_credits(2)
    refused = served.api.post("reports/", json=REPORT)
    assert refused.status_code == 422
    assert "3 AI credits; 2 remain" in refused.json()["detail"]
    assert served.api.get("reports/").json()["count"] == 5
    for status in (200, 200, 422):
        answer = served.api.post("analytics/query/", json={"query": "revenue?"})
        assert answer.status_code == status


def test_low_credits_are_told_once_when_they_fall_below_a_tenth(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.sandbox.set_credits(150)
    for _ in range(3):
        served.api.post("analytics/query/", json={"query": "revenue?"})
    served.drain()
    (event,) = receiver.events
    assert event["event"] == "billing.credits_low"
    assert event["data"] == {
        "remaining": 149,
        "total": 1500,
        "percent": 9.9,
        "threshold_percent": 10,
    }


def test_query_formats_differ(served: Running) -> None:
    def ask(**body: str) -> dict[str, Any]:
        answer: dict[str, Any] = served.api.post("analytics/query/", json=body).json()
        return answer

    summary = ask(query="Top products", format="summary")
    assert "results" not in summary
    assert "visualization_suggestion" not in summary
    assert summary["summary"]
    trend = ask(query="Revenue trend over time", format="chart")
    assert trend["visualization_suggestion"] == "line_chart"
    assert trend["results"][0]["month"]
    assert ask(query="Orders by region")["results"][0]["region"]


def test_data_sources_are_limited_by_the_plan(served: Running) -> None:
    def create(number: int) -> int:
        body = {"name": f"Source {number}", "type": "api", "engine": "rest"}
        return served.api.post("data-sources/", json=body).status_code

    assert [create(number) for number in range(8)] == [201] * 7 + [422]
    served.api.delete("data-sources/8/")
    assert create(9) == 201
    assert served.api.get("billing/usage/").json()["data_sources"] == {"limit": 15, "used": 15}


def test_names_are_unique_in_any_case(served: Running) -> None:
    source = {"name": "production postgresql", "type": "api", "engine": "rest"}
    assert served.api.post("data-sources/", json=source).status_code == 409
    assert served.api.put("dashboards/2/", json={"name": "Web traffic"}).status_code == 409
    assert served.api.put("dashboards/5/", json={"name": "Web traffic"}).status_code == 200


def test_put_changes_the_given_fields_only(served: Running) -> None:
    before = served.api.get("dashboards/1/").json()
    after = served.api.put("dashboards/1/", json={"description": ""}).json()
    assert after["description"] == ""
    assert after["updated_at"] > before["updated_at"]
    same = {"description", "updated_at"}
    assert {k: v for k, v in after.items() if k not in same} == {
        k: v for k, v in before.items() if k not in same
    }
    configured = served.api.put("dashboards/1/", json={"configuration": {"theme": "dark"}})
    assert configured.json()["configuration"] == {"theme": "dark"}


def test_secrets_of_a_configuration_never_come_back(served: Running) -> None:
    body = {
        "name": "Secretive",
        "type": "database",
        "engine": "postgresql",
        "configuration": {
            "host": "h",
            "username": "u",
            "password": "p",
            "API_KEY": "k",
            "ssl": True,
        },
    }
    created = served.api.post("data-sources/", json=body).json()
    assert created["configuration"] == {"host": "h", "username": "u", "ssl": True}


def test_whether_anything_is_under_way_is_asked_in_the_servers_thread(served: Running) -> None:
    """In another one, a job that has ended and whose webhook isn't made yet would be missed."""
    threads: list[str] = []

    def is_done() -> bool:
        threads.append(threading.current_thread().name)
        return True

    assert asyncio.run(served.sandbox._until(is_done, 10))
    assert threads == ["uvicorn under test"]
