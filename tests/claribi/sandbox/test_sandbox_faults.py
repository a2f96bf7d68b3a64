"""What goes wrong on purpose: planned faults, the rate limit, and requests that make no sense."""

import logging
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sandbox_server import Running
from starlette.requests import Request

from claribi.sandbox import RateLimit, create_app
from claribi.sandbox.endpoint import MAX_BODY_BYTES
from claribi.sandbox.gate import MAX_CALLERS, Limiter


def statuses(served: Running, number: int, path: str = "auth/status/") -> list[int]:
    return [served.api.get(path).status_code for _ in range(number)]


def test_the_next_calls_fail_and_then_no_more(served: Running) -> None:
    served.sandbox.fail_next(2, status=503, retry_after_seconds=7)
    answer = served.api.get("auth/status/")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"] == "service_unavailable"
    assert statuses(served, 2) == [503, 200]


def test_faults_of_different_kinds_come_in_order(served: Running) -> None:
    served.sandbox.fail_next(status=500)
    served.sandbox.fail_next(status=429, retry_after_seconds=1)
    served.sandbox.fail_next(status=502, error="bad_gateway")
    assert statuses(served, 4) == [500, 429, 502, 200]


def test_a_fault_can_be_for_one_method_and_path_only(served: Running) -> None:
    served.sandbox.fail_next(method="POST", path="reports/*")
    assert statuses(served, 1, "reports/") == [200]
    body = {"name": "n", "template": "t"}
    assert served.api.post("dashboards/", json=body).status_code == 201
    assert served.api.post("reports/", json=body).status_code == 503
    assert served.api.post("reports/", json=body).status_code == 202


def test_a_planned_fault_comes_before_anything_is_done(served: Running) -> None:
    served.sandbox.fail_next(status=500)
    served.api.post("analytics/query/", json={"query": "q"})
    assert served.sandbox.state.credits_remaining == 1347


def test_a_fault_after_the_work_leaves_the_work_done(served: Running) -> None:
    served.sandbox.fail_next(status=504, after=True)
    answer = served.api.post("analytics/query/", json={"query": "q"})
    assert answer.status_code == 504
    assert served.sandbox.state.credits_remaining == 1346


@pytest.mark.parametrize(("after", "remaining"), [(False, 1347), (True, 1346)])
def test_a_connection_can_break_before_or_after_the_work(
    served: Running, after: bool, remaining: int
) -> None:
    served.sandbox.fail_next(drop=True, after=after)
    # Which of them depends on whether the server had read all of the request by then.
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        served.api.post("analytics/query/", json={"query": "q"})
    assert served.sandbox.state.credits_remaining == remaining
    assert served.sandbox.calls[-1].status == 0
    assert statuses(served, 1) == [200]


def test_a_slow_call_is_slow_and_right(served: Running) -> None:
    served.sandbox.fail_next(slow=True, delay_seconds=0.5)
    with pytest.raises(httpx2.ReadTimeout):
        served.api.get("auth/status/", timeout=httpx2.Timeout(10, read=0.1))
    served.sandbox.fail_next(slow=True, delay_seconds=0.01)
    assert statuses(served, 1) == [200]


def test_a_caller_can_give_up_on_a_call_that_was_carried_out(served: Running) -> None:
    served.sandbox.fail_next(slow=True, after=True, delay_seconds=1)
    patience = httpx2.Timeout(10, read=0.5)
    with pytest.raises(httpx2.ReadTimeout):
        served.api.post("analytics/query/", json={"query": "q"}, timeout=patience)
    assert served.sandbox.state.credits_remaining == 1346


def test_a_proxy_in_between_can_be_played(served: Running) -> None:
    served.sandbox.fail_next(status=502, body="<h1>Bad Gateway</h1>")
    answer = served.api.get("auth/status/")
    assert answer.text == "<h1>Bad Gateway</h1>"
    assert answer.headers["content-type"].startswith("text/html")


def test_planned_faults_can_be_taken_back(served: Running) -> None:
    served.sandbox.fail_next(5)
    served.sandbox.clear_faults()
    assert statuses(served, 1) == [200]


@pytest.mark.parametrize("fault", [{"status": 200}, {"n": 0}, {"delay_seconds": -1}])
def test_a_fault_that_makes_no_sense_is_refused(served: Running, fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        served.sandbox.fail_next(**fault)


def test_calls_are_counted(served: Running) -> None:
    statuses(served, 2)
    served.api.get("reports/1/")
    served.api.get("reports/99/")
    assert served.sandbox.count_calls() == 4
    assert served.sandbox.count_calls("GET", "reports/*") == 2
    assert served.sandbox.count_calls("POST") == 0
    last = served.sandbox.calls[-1]
    assert (last.method, last.path, last.status) == ("GET", "reports/99/", 404)


def test_the_rate_limit_tells_when_to_come_back(served: Running) -> None:
    served.sandbox.set_rate_limit(2, window_seconds=60)
    first, second, third = (served.api.get("auth/status/") for _ in range(3))
    assert first.headers["x-ratelimit-limit"] == "2"
    assert [a.headers["x-ratelimit-remaining"] for a in (first, second)] == ["1", "0"]
    assert third.status_code == 429
    assert third.json()["error"] == "rate_limited"
    wait = int(third.headers["retry-after"])
    assert 0 < wait <= 60
    served.sandbox.advance(timedelta(seconds=wait))
    assert statuses(served, 3) == [200, 200, 429]


def test_the_rate_limit_counts_each_credential_apart(served: Running) -> None:
    served.sandbox.set_rate_limit(1)
    assert statuses(served, 2) == [200, 429]
    other = {"X-API-Key": served.sandbox.viewer_key}
    assert served.call("GET", "auth/status/", headers=other).status_code == 200
    assert served.call("GET", "auth/status/").status_code == 401
    assert served.call("GET", "auth/status/").status_code == 429


def test_without_a_limit_there_are_no_rate_headers(served: Running) -> None:
    assert "x-ratelimit-limit" not in served.api.get("auth/status/").headers


def test_the_memory_of_callers_is_bounded() -> None:
    app = create_app(rate_limit=RateLimit(requests=5))
    world = app.state.sandbox.world
    for number in range(MAX_CALLERS + 5):
        key = str(number).encode()
        Limiter(world).count(Request({"type": "http", "headers": [(b"x-api-key", key)]}))
    assert len(world.rate_windows) == MAX_CALLERS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"name": 1e999, "template": 2}',
    ],
)
def test_a_body_that_is_no_object_is_a_400(served: Running, body: bytes) -> None:
    answer = served.api.post("dashboards/", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "validation_error"


@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "9" * 5000, "0." + "3" * 5000, "[" * 100 + "]" * 100]
)
def test_hostile_values_inside_free_fields_are_kept_or_refused(served: Running, value: str) -> None:
    body = '{"name":"n","type":"api","engine":"e","configuration":{"v":' + value + "}}"
    answer = served.api.post("data-sources/", content=body.encode())
    assert answer.status_code in {201, 400}
    assert served.api.get("data-sources/").status_code == 200


def test_field_errors_are_told_per_field(served: Running) -> None:
    body = {"name": " ", "type": "blob", "configuration": 3, "sync_frequency": 5}
    detail = served.api.post("data-sources/", json=body).json()["detail"]
    assert set(detail) == {"name", "type", "engine", "configuration", "sync_frequency"}
    assert detail["engine"] == ["This field is required."]
    assert "'database', 'api', 'file' or 'cloud'" in detail["type"][0]
    listed = {"name": "n", "template": "t", "data_source_ids": [1, "x", 0]}
    detail = served.api.post("reports/", json=listed).json()["detail"]
    assert set(detail) == {"data_source_ids.1", "data_source_ids.2"}


def test_a_body_that_is_too_large_is_a_413(served: Running) -> None:
    answer = served.api.post("dashboards/", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == "payload_too_large"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing/",
        "reports/1",
        "data-sources/x/",
        "data-sources/-1/",
        "data-sources/0/",
        "data-sources/%D9%A1/",
        "data-sources/1/sync/now/",
        f"data-sources/{'9' * 5000}/",
    ],
)
def test_what_is_not_there_is_a_404(served: Running, path: str) -> None:
    answer = served.api.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


def test_a_missing_slash_is_explained(served: Running) -> None:
    assert "ends in a slash" in served.api.get("data-sources").json()["detail"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_are_a_405_that_names_the_right_ones(served: Running, method: str) -> None:
    answer = served.api.request(method, "data-sources/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


def test_outside_of_the_api_a_404_says_where_it_is(served: Running) -> None:
    answer = httpx2.get(f"{served.origin}/nothing", trust_env=False)
    assert answer.status_code == 404
    assert "/api/" in answer.json()["detail"]


def test_a_fault_of_the_sandboxs_own_is_an_internal_error_and_logged(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    served.sandbox.state.reports[1].created_at = None  # type: ignore[assignment]
    with caplog.at_level(logging.CRITICAL):
        answer = served.api.get("reports/?ordering=created_at&created_after=2025-01-01")
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal_error"
