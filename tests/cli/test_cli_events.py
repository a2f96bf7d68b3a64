"""`clarihook events`: what came is shown as it came, and samples are as good as real webhooks."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from live_deployment import CONFIG, Deployment, eventually

from receiver.events import MODELS
from receiver.payload import parse_object
from receiver.samples import SAMPLE_DATA, Places, make_sample
from receiver.settings import Settings
from receiver.signatures import PRESETS
from receiver.sources import build_sources

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
DEAD = "clarihook.delivery.dead"
SECRETS = {"standard": "whsec_" + "bWFkZS11cCBzZWNyZXQgZm9yIHRlc3Rz", "none": None}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server that has received `good.a`, `bad.b`, `loud.c` and `other.d`, and dealt with all."""
    deployment = Deployment(tmp_path_factory.mktemp("home"))
    deployment.serve()
    try:
        deployment.send("good.a", "--data", '{"name": "Müller"}')
        deployment.send("bad.b")
        eventually(lambda: rows(deployment, "--type", DEAD))
        deployment.send("loud.c")
        deployment.send("other.d", "--data", '{"colour": "\\u001b[31mred"}')
        eventually(lambda: deployment.lines("data/messages.jsonl"))
        yield deployment
    finally:
        deployment.stop()


def rows(deployment: Deployment, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment.json("events", "list", *options)["events"]
    return found


def test_list_has_the_newest_first_with_its_deliveries(deployment: Deployment) -> None:
    found = rows(deployment)
    assert [row["type"] for row in found] == ["other.d", "loud.c", DEAD, "bad.b", "good.a"]
    assert {row["type"] for row in found if row["source"] == "clarihook"} == {DEAD}
    states = [row["deliveries"] for row in found]
    assert states == [{}, {"succeeded": 2}, {}, {"dead": 1}, {"succeeded": 1}]
    table = deployment.run("events", "list").stdout.splitlines()
    assert table[0].split() == ["id", "received", "source", "type", "bytes", "deliveries"]
    assert table[4].split()[-2:] == ["1", "dead"]


def test_show_tells_that_clarihook_itself_raised_an_event(deployment: Deployment) -> None:
    (event,) = rows(deployment, "--type", DEAD)
    text = deployment.run("events", "show", event["id"]).stdout
    assert "verified by  nobody: clarihook itself raised it" in text
    assert '    "name": "mine.fail"' in text
    assert "no deliveries: no handler matched" in text


@pytest.mark.parametrize(
    ("options", "types"),
    [
        (["--type", "bad.*", "--type", "good.a"], ["bad.b", "good.a"]),
        (["--limit", "1", "--type", "bad.*", "--type", "good.a"], ["bad.b"]),
        (["--source", "github"], []),
        (["--until", "today", "--since", "2020-01-01"], []),
    ],
)
def test_list_takes_filters(deployment: Deployment, options: list[str], types: list[str]) -> None:
    assert [row["type"] for row in rows(deployment, *options)] == types


def test_show_tells_all_by_the_beginning_of_an_id(deployment: Deployment) -> None:
    (event,) = rows(deployment, "--type", "loud.c")
    text = deployment.run("events", "show", event["id"][:-8]).stdout
    assert event["id"] in text
    assert "x-claribi-signature: t=" in text
    assert '  "event": "loud.c"' in text
    assert "mine.tell  succeeded" in text
    assert "ops/1-file  succeeded" in text
    assert "message to ops, info: Heard" in text
    assert text.count("attempt 1 of 8") == 2


def test_show_as_json_has_every_attempt(deployment: Deployment) -> None:
    (event,) = rows(deployment, "--type", "bad.b")
    document = deployment.json("events", "show", event["id"])
    (delivery,) = document["deliveries"]
    (attempt,) = delivery["attempts"]
    assert (delivery["name"], delivery["state"]) == ("mine.fail", "dead")
    assert (attempt["outcome"], attempt["error_class"]) == ("permanent", "Reject")
    assert json.loads(document["body"])["event"] == "bad.b"
    assert document["secret_index"] == 0


def test_show_raw_writes_the_exact_body(deployment: Deployment) -> None:
    (event,) = rows(deployment, "--type", "good.a")
    document = deployment.json("events", "show", event["id"])
    raw = deployment.call("events", "show", event["id"], "--raw").stdout
    assert raw == document["body"]
    assert len(raw) == event["bytes"]


def test_no_data_reaches_the_terminal_raw(deployment: Deployment) -> None:
    for event in rows(deployment):
        shown = deployment.call("events", "show", event["id"]).stdout
        assert "\x1b" not in shown
    assert "no \\x1b[31mluck" in deployment.call("deliveries", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["show", "evt_00"], "there is no event evt_00; see `clarihook events list`"),
        (["show", "evt_0"], "several events have an id that begins with evt_0"),
        (["list", "--since", "soon"], "--since: 'soon' is no time; write a time ago (90s, 2h, 7d)"),
        (["list", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (
            ["send", "a.b", "--source", "github"],
            "no source 'github' in the settings; known: claribi",
        ),
        (["send", "a.b", "--data", "[1]"], "--data is no JSON object"),
        (["send", "a.b", "--rate", "0"], "--rate 0 would never send anything"),
        (["send", "a.b", "--rate", "nan"], "--rate nan would never send anything"),
        (["send", "a.b", "--scheme", "github"], "--scheme github signs with --secret; give that"),
        (
            ["forward", "--to", "http://127.0.0.1:9/", "--as-received", "--scheme", "github"],
            "--scheme github signs with --secret; give that",
        ),
        (["send", "a.b", "--secret", "env:NOT_SET"], "--secret is for another receiver"),
        (["send", "a.b", "--secret", "env:NOT_SET", "--url", "http://127.0.0.1:9/"], "NOT_SET is"),
        (["send", "a.b", "--secret", "short", "--url", "http://127.0.0.1:9/"], "has 5 bytes"),
    ],
)
def test_user_errors_say_what_to_do(
    deployment: Deployment, arguments: list[str], text: str
) -> None:
    result = deployment.call("events", *arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistyped_id_gets_the_nearest_one(deployment: Deployment) -> None:
    (event,) = rows(deployment, "--type", "bad.b")
    wrong = event["id"][:-1] + ("0" if event["id"][-1] != "0" else "1")
    result = deployment.call("events", "show", wrong)
    assert result.returncode == 2
    assert f"there is no event {wrong}; did you mean {event['id']}?" in result.stderr


def test_nothing_stored_yet_is_said(tmp_path: Path) -> None:
    fresh = Deployment(tmp_path / "home")
    for command in (["events", "list"], ["deliveries", "list"], ["replay", "--since", "1h"]):
        result = fresh.call(*command)
        assert result.returncode == 2
        assert "no database here yet. Start `clarihook serve` once" in result.stderr
    assert not (fresh.home / "data").exists()


def test_send_prints_each_answer_and_a_summary(deployment: Deployment) -> None:
    url = f"{deployment.origin}/hooks/claribi"
    result = deployment.run("events", "send", "more.e", "--url", url, "--count", "20")
    lines = result.stdout.splitlines()
    assert (result.returncode, len(lines)) == (0, 21)
    assert all(line.startswith("202  ") and '"duplicate": false' in line for line in lines[:20])
    assert lines[20].startswith("20 sent in ")
    assert len(rows(deployment, "--type", "more.e", "--limit", "50")) == 20


def test_send_elsewhere_is_refused_with_another_secret(deployment: Deployment) -> None:
    url = f"{deployment.origin}/hooks/claribi"
    result = deployment.run("events", "send", "a.b", "--url", url, "--secret", "x" * 16)
    assert result.returncode == 1
    assert result.stdout.startswith("401  ")


def test_send_to_nobody_says_so(deployment: Deployment) -> None:
    result = deployment.run("events", "send", "a.b", "--url", "http://127.0.0.1:9/hooks/claribi")
    assert result.returncode == 1
    assert "can't reach http://127.0.0.1:9/hooks/claribi" in result.stdout
    assert "Is `clarihook serve` running there?" in result.stdout


@pytest.mark.parametrize("event_type", MODELS)
def test_samples_fit_the_models_of_the_five_events(event_type: str) -> None:
    body = json.dumps({"event": event_type, "data": SAMPLE_DATA[event_type]})
    event = MODELS[event_type].model_validate_json(body)
    known = type(event.data).model_fields
    assert set(SAMPLE_DATA[event_type]) <= set(known)
    assert not [name for name in SAMPLE_DATA[event_type] if event.data.get(name) is None]


@pytest.mark.parametrize("scheme", PRESETS)
def test_samples_are_accepted_in_every_scheme(scheme: str) -> None:
    secret = SECRETS.get(scheme, "a made-up secret for tests")
    options = {"header": "X-Signature"} if scheme == "hmac" else {}
    if scheme == "none":
        options["insecure"] = True  # type: ignore[assignment]
    table = {"scheme": scheme, "secrets": [secret] if secret else [], **options}
    source = build_sources(Settings.from_dict({"sources": {"one": table}}))["one"]
    keys = set()
    for number in range(3):
        sample = make_sample(
            "billing.credits_low", {"n": 1}, places=Places.of(scheme), scheme=source.scheme,
            message_id=f"msg_{number}", now=NOW.replace(microsecond=number),
        )  # fmt: skip
        raw = [(name.encode(), value.encode()) for name, value in sample.headers]
        verified = source.scheme.verify(raw, sample.body, NOW.timestamp())
        value = parse_object(sample.body)
        assert source.read_type(dict(raw), value) == "billing.credits_low"
        assert value["data"]["n"] == 1
        assert value["data"]["remaining"] == 46
        keys.add(verified.message_id or source.read_key(dict(raw), sample.body, value))
    assert len(keys) == 3


def test_send_asks_which_source_when_several_could_be_meant(tmp_path: Path) -> None:
    fresh = Deployment(tmp_path / "home")
    more = '[sources.second]\nscheme = "claribi"\nsecrets = ["another secret for tests"]\n'
    (fresh.home / "config/clarihook.toml").write_text(CONFIG + more)
    result = fresh.call("events", "send", "a.b")
    assert result.returncode == 2
    assert "say which source: --source claribi or second" in result.stderr
