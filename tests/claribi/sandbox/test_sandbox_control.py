"""The control API: everything that tests in another process do to a sandbox."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sandbox_server import Receiver, Running

import claribi.sandbox
from claribi.sandbox.control import CONTROLS


def test_it_shows_the_credentials_and_they_work(served: Running) -> None:
    shown = served.control("GET")
    assert shown["base_url"] == f"{served.origin}/api/"
    for key in shown["api_keys"]:
        headers = {"X-API-Key": key["key"]}
        answer = httpx2.get(f"{shown['base_url']}auth/status/", headers=headers, trust_env=False)
        assert answer.json()["user"]["id"] == key["user_id"]
    for user in shown["users"]:
        answer = served.login(user["email"], user["password"])
        assert ("mfa_required" in answer) == bool(user["totp_secret"])
    assert shown["credits"] == {"total": 1500, "remaining": 1347}


def test_it_makes_calls_fail_and_takes_that_back(served: Running) -> None:
    served.control("POST", "faults/", {"count": 2, "status": 429, "retry_after_seconds": 3})
    assert served.api.get("auth/status/").headers["retry-after"] == "3"
    assert served.control("GET")["faults"][0]["count"] == 1
    assert served.control("DELETE", "faults/") == []
    assert served.api.get("auth/status/").status_code == 200


def test_it_expires_tokens_and_moves_time(served: Running) -> None:
    access = {"Authorization": f"Bearer {served.login()['access']}"}
    served.control("POST", "expire-tokens/")
    assert served.call("GET", "auth/status/", headers=access).json()["error"] == "token_expired"
    access = {"Authorization": f"Bearer {served.login()['access']}"}
    assert served.control("POST", "time/", {"advance_seconds": 3600})["offset_seconds"] == 3600
    assert served.call("GET", "auth/status/", headers=access).json()["error"] == "token_expired"


def test_it_registers_webhooks_fires_events_and_shows_what_was_sent(
    served: Running, receiver: Receiver
) -> None:
    body = {"url": receiver.url, "secret": "a-made-up-secret", "events": ["report.*"]}
    webhook = served.control("POST", "webhooks/", body)
    assert served.control("GET", "webhooks/") == [webhook]
    fired = served.control("POST", "events/", {"event": "report.generated", "data": {"x": 1}})
    assert [one["status"] for one in fired] == ["delivered"]
    assert receiver.events[0]["data"]["x"] == 1
    assert served.control("POST", "events/", {"event": "billing.credits_low"}) == []
    assert served.control("GET", "deliveries/") == fired
    assert served.control("GET", "deliveries/?status=failed") == []
    assert served.control("DELETE", f"webhooks/{webhook['id']}/") == []


def test_it_drains_jobs_and_plans_their_failure(served: Running) -> None:
    served.control("POST", "jobs/fail-next/", {"kind": "sync", "error": "no route", "count": 2})
    for number in (1, 2, 3):
        served.api.post(f"data-sources/{number}/sync/")
    assert served.control("POST", "drain/") == {"drained": True}
    found = [served.api.get(f"data-sources/{n}/").json()["status"] for n in (1, 2, 3)]
    assert found == ["error", "error", "active"]


def test_draining_gives_up_in_time(served: Running) -> None:
    served.sandbox.world.clock.speed = 0.001
    try:
        served.api.post("data-sources/1/sync/")
        assert served.control("POST", "drain/", {"timeout_seconds": 0.05}) == {"drained": False}
    finally:
        served.sandbox.world.clock.speed = 600


def test_it_sets_credits_and_the_rate(served: Running) -> None:
    assert served.control("POST", "credits/", {"remaining": 7})["credits"]["remaining"] == 7
    served.control("POST", "rate-limit/", {"requests": 1, "window_seconds": 10})
    answers = [served.api.get("auth/status/").status_code for _ in range(2)]
    assert answers == [200, 429]
    served.control("POST", "rate-limit/", {"requests": None})
    assert served.api.get("auth/status/").status_code == 200


def test_it_lists_the_calls(served: Running) -> None:
    served.api.get("reports/99/")
    (call,) = served.control("GET", "calls/")
    assert (call["method"], call["path"], call["status"]) == ("GET", "reports/99/", 404)


def test_reset_brings_the_seed_back_and_keeps_the_webhooks(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    served.api.delete("data-sources/1/")
    served.control("POST", "time/", {"advance_seconds": 1000})
    served.control("POST", "faults/", {"count": 9})
    served.control("POST", "reset/")
    assert served.api.get("data-sources/").json()["count"] == 8
    shown = served.control("GET")
    assert (shown["offset_seconds"], shown["faults"]) == (0, [])
    assert [webhook["url"] for webhook in shown["webhooks"]] == [receiver.url]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults/", {"status": 200}),
        ("faults/", {"stauts": 503}),
        ("time/", {"advance_seconds": -1}),
        ("time/", {}),
        ("credits/", {"remaining": -1}),
        ("events/", {"event": ""}),
        ("webhooks/", {"url": "ftp://x"}),
        ("jobs/fail-next/", {"kind": "coffee"}),
        ("rate-limit/", {"requests": -1}),
        ("drain/", {"timeout_seconds": 1e9}),
    ],
)
def test_what_makes_no_sense_is_a_400_that_names_the_field(
    served: Running, path: str, body: Any
) -> None:
    answer = httpx2.post(f"{served.origin}/sandbox/{path}", json=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_a_body_may_come_in_chunks_or_be_left_out(served: Running) -> None:
    url = f"{served.origin}/sandbox/credits/"
    answer = httpx2.post(url, content=iter([b'{"remaining"', b": 5}"]), trust_env=False)
    assert answer.json()["credits"]["remaining"] == 5
    assert served.control("POST", "reset/")["credits"]["remaining"] == 1347


def test_other_web_sites_are_kept_out(served: Running) -> None:
    url = f"{served.origin}/sandbox/reset/"
    for origin, status in (("https://evil.example", 403), ("null", 403), (served.origin, 200)):
        answer = httpx2.post(url, headers={"Origin": origin}, trust_env=False)
        assert answer.status_code == status


def test_an_unknown_webhook_cant_be_removed(served: Running) -> None:
    answer = httpx2.delete(f"{served.origin}/sandbox/webhooks/77/", trust_env=False)
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_other_methods_are_refused(served: Running, method: str) -> None:
    answer = httpx2.request(method, f"{served.origin}/sandbox/time/", trust_env=False)
    assert answer.status_code == 405


def test_the_packages_docstring_lists_every_control() -> None:
    text = inspect.getdoc(claribi.sandbox) or ""
    for _, path, _, _ in CONTROLS:
        assert path.replace("{id:int}/", "") in text


def test_the_sandbox_can_be_shaped_from_many_threads_while_it_serves(
    served: Running, receiver: Receiver
) -> None:
    served.sandbox.add_webhook(receiver.url)
    rounds = 15

    def shape(number: int) -> None:
        for _ in range(rounds):
            served.fire("report.generated", report_id=number)
            served.sandbox.set_credits(1000 + number)
            served.sandbox.advance(timedelta(seconds=1))
            assert served.api.get("reports/").status_code == 200

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(shape, range(4)))
    served.drain()
    assert len(receiver.requests) == 4 * rounds
    assert len({body for _, body in receiver.requests}) == 4 * rounds
    assert served.control("GET")["offset_seconds"] == 4 * rounds
