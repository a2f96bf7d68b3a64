"""`clarihook rejections replay`: accepted as if it had come now, once it verifies."""

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from live_deployment import CONFIG, Deployment, eventually

from receiver.signatures import SchemeSpec, build_scheme
from receiver.store.driver import sqlite3

WRONG = "quite another secret"
BODY = b'{"event": "good.a", "data": {"n": 1}}'


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "home")


def configure(deployment: Deployment, text: str) -> None:
    (deployment.home / "config/clarihook.toml").write_text(text)


def post(
    deployment: Deployment,
    body: bytes = BODY,
    *,
    secret: str = WRONG,
    at: float | None = None,
    **headers: str,
) -> int:
    """Send it, signed with that secret at that time; the status."""
    scheme = build_scheme(SchemeSpec(scheme="claribi"), [secret])
    pairs = scheme.sign(body, message_id="", now=time.time() if at is None else at)
    url = f"{deployment.origin}/hooks/claribi"
    answer = httpx2.post(url, content=body, headers=[*pairs, *headers.items()], trust_env=False)
    return answer.status_code


def write(deployment: Deployment, sql: str, *parameters: object) -> None:
    connection = sqlite3.connect(deployment.home / "data/clarihook.db")
    connection.execute(sql, parameters)
    connection.commit()
    connection.close()


def replayed(deployment: Deployment, *arguments: str) -> list[dict[str, Any]]:
    result = deployment.run("rejections", "replay", *arguments, "--json")
    found: list[dict[str, Any]] = json.loads(result.stdout)["rejections"]
    return found


def test_after_the_secret_was_corrected_it_is_an_event_like_any_other(
    deployment: Deployment,
) -> None:
    deployment.serve()
    try:
        assert [post(deployment), post(deployment, BODY + b" ")] == [401, 401]
        refused = deployment.run("rejections", "replay", "1")
        assert refused.returncode == 1
        assert "1  refused  still not proven: mismatch" in refused.stdout
        assert "see `clarihook signature check 1`" in refused.stdout
        configure(deployment, CONFIG.replace("a made-up secret for tests", WRONG))
        dry = deployment.run("rejections", "replay", "--status", "401", "--dry-run")
        assert dry.stdout == "1  would be accepted\n2  would be accepted\n"
        assert deployment.json("events", "list")["events"] == []
        before = int(time.time() * 1000)
        (one,) = replayed(deployment, "1")
        assert one["outcome"] == "accepted"
        # The server, which still has the old settings, runs its deliveries.
        eventually(lambda: deployment.lines("handled") == [f"{one['event_id']} live"])
        shown = deployment.json("events", "show", one["event_id"])
        assert shown["body"].encode() == BODY
        assert shown["secret_index"] == 0
        assert int(one["event_id"][4:16], 16) >= before, "it came now"
        (delivery,) = shown["deliveries"]
        assert (delivery["name"], delivery["state"]) == ("mine.keep", "succeeded")
        # Once more is harmless, and what was accepted is left out of a selection.
        assert replayed(deployment, "1") == [{**one, "outcome": "known"}]
        asked = deployment.run("rejections", "replay", "--source", "claribi", "--yes")
        assert asked.stdout.startswith("2  accepted  evt_")
        listed = deployment.run("rejections", "list").stdout
        assert f"accepted later as {one['event_id']}" in listed
        eventually(lambda: len(deployment.lines("handled")) == 2)
    finally:
        deployment.stop()


def test_without_a_server_the_next_one_runs_it(deployment: Deployment) -> None:
    deployment.serve()
    assert post(deployment) == 401
    deployment.stop()
    configure(deployment, CONFIG.replace("a made-up secret for tests", WRONG))
    (one,) = replayed(deployment, "1")
    assert deployment.lines("handled") == []
    deployment.serve()
    try:
        eventually(lambda: deployment.lines("handled") == [f"{one['event_id']} live"])
    finally:
        deployment.stop()


def test_its_time_is_judged_by_when_it_came(deployment: Deployment) -> None:
    deployment.serve()
    hour_ago = time.time() - 3600
    assert post(deployment, at=hour_ago, secret="a made-up secret for tests") == 401
    assert post(deployment, BODY + b" ", at=hour_ago) == 401
    deployment.stop()
    # As if the second had come when it was signed, an hour ago.
    write(deployment, "UPDATE rejections SET received_at = ? WHERE id = 2", int(hour_ago * 1000))
    configure(deployment, CONFIG.replace("a made-up secret for tests", WRONG))
    late, good = replayed(deployment, "1", "2")
    assert (late["outcome"], good["outcome"]) == ("refused", "accepted")
    configure(deployment, CONFIG)
    (late,) = replayed(deployment, "1")
    assert "too_old" in late["reason"]


def test_a_signed_body_that_is_no_event_is_taken_once_the_source_stores_these(
    deployment: Deployment,
) -> None:
    deployment.serve()
    assert post(deployment, b"[1]", secret="a made-up secret for tests") == 400
    deployment.stop()
    (one,) = replayed(deployment, "1")
    assert one["reason"] == "signed, but still no event: the body is not a JSON object"
    configure(deployment, CONFIG.replace("[channels", 'malformed = "store"\n[channels'))
    (one,) = replayed(deployment, "1")
    assert one["outcome"] == "accepted"
    assert deployment.json("events", "show", one["event_id"])["type"] == "clarihook.malformed"


def test_what_can_not_be_accepted_says_why(deployment: Deployment) -> None:
    configure(deployment, f"{CONFIG}[rejections]\nmax_body_bytes = 50\n")
    deployment.serve()
    assert post(deployment, b"x" * 60) == 401
    assert post(deployment, BODY, **{"x-api-key": "a credential"}) == 401
    deployment.stop()
    cut, masked = replayed(deployment, "1", "2")
    assert cut["reason"].startswith("only 50 of its 60 bytes were kept; for later ones set rej")
    assert masked["reason"].endswith("(not kept, since they may be credentials: x-api-key)")
    configure(deployment, CONFIG.replace("sources.claribi", "sources.other"))
    (gone,) = replayed(deployment, "2")
    assert gone["reason"] == "the settings have no source 'claribi' any more"
    for arguments, text in (
        ([], "say which: their numbers, --source"),
        (["99"], "there is no rejection 99 (any more)"),
        (["--status", "401"], "this would try to accept 2 requests; add --yes"),
    ):
        result = deployment.run("rejections", "replay", *arguments)
        assert (result.returncode, text in result.stderr) == (2, True), result.stderr
    nothing = deployment.run("rejections", "replay", "--since", "2020-01-01", "--until", "2021")
    assert nothing.returncode == 2  # 2021 is no time
    nothing = deployment.run("rejections", "replay", "--until", "2021-01-01")
    assert (nothing.returncode, nothing.stdout) == (0, "there is none\n")
