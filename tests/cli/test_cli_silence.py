"""`clarihook silence` beside real servers: obeyed at once, held durably, let go in time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_deployment import Deployment, eventually

MESSAGES = "data/messages.jsonl"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "home")
    yield made
    made.stop()


def add(deployment: Deployment, *conditions: str, comment: str = "moving") -> dict[str, Any]:
    """The silence, added by a process of its own."""
    result = deployment.call("silence", "add", *conditions, "--comment", comment, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def to_ops(deployment: Deployment, *states: str) -> list[dict[str, Any]]:
    options = [word for state in states for word in ("--state", state)]
    found: list[dict[str, Any]] = deployment.json(
        "deliveries", "list", "--name", "ops/*", "--limit", "500", *options
    )["deliveries"]
    return found


def sent(deployment: Deployment) -> list[dict[str, Any]]:
    return [json.loads(line) for line in deployment.lines(MESSAGES)]


def held(deployment: Deployment, number: int) -> int:
    (found,) = (s for s in deployment.json("silence", "list")["silences"] if s["id"] == number)
    return int(found["holds"])


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_server_obeys_a_silence_and_its_end(
    deployment: Deployment, options: tuple[str, ...]
) -> None:
    deployment.serve(*options)
    deployment.send("loud.a")
    eventually(lambda: len(sent(deployment)) == 1)
    made = add(deployment, "--channel", "ops", "--type", "loud.*", "--for", "2h")
    deployment.send("loud.a", "--count", "12")
    eventually(lambda: len(to_ops(deployment, "held")) == 12)
    assert len(sent(deployment)) == 1
    assert held(deployment, made["id"]) == 12
    one = to_ops(deployment, "held")[0]
    assert one["reason"].startswith(f"silence {made['id']} until ")
    assert one["reason"].endswith(f", by {made['author']}: moving")
    assert one["due_at"] == made["until"]

    ended = deployment.call("silence", "end", str(made["id"]), "--author", "bo", "--json")
    assert json.loads(ended.stdout)["released"] == 12
    eventually(lambda: len(sent(deployment)) == 2)
    assert sent(deployment)[1]["title"] == "12 \N{MULTIPLICATION SIGN} Heard"
    merged = to_ops(deployment, "cancelled")
    assert len(merged) == 12
    assert len({each["reason"] for each in merged}) == 1
    deployment.send("loud.a")
    eventually(lambda: len(sent(deployment)) == 3)
    (over,) = deployment.json("silence", "list", "--all")["silences"]
    assert (over["state"], over["ended_by"], over["holds"]) == ("ended", "bo", 0)
    assert deployment.json("silence", "list") == {"silences": []}


def test_what_is_held_survives_a_kill_and_goes_out_by_time(deployment: Deployment) -> None:
    deployment.serve()
    made = add(deployment, "--everything", "--for", "6s")
    deployment.send("loud.a", "--count", "2")
    eventually(lambda: len(to_ops(deployment, "held")) == 2)
    deployment.kill()
    assert held(deployment, made["id"]) == 2
    deployment.serve()
    eventually(lambda: sent(deployment))
    (digest,) = to_ops(deployment, "succeeded")
    assert digest["started_at"] >= made["until"]
    assert sent(deployment)[0]["title"] == "2 \N{MULTIPLICATION SIGN} Heard"
    (over,) = deployment.json("silence", "list", "--all")["silences"]
    assert over["state"] == "expired"


def test_what_it_does_not_match_goes_out(deployment: Deployment) -> None:
    deployment.serve()
    add(deployment, "--where", 'event.data.missing == "x"', "--for", "2h")
    add(deployment, "--severity", "critical", "--type", "loud.*", "--for", "2h")
    deployment.send("loud.a")
    eventually(lambda: len(sent(deployment)) == 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--for 2h --comment a", "say which messages: --type"),
        ("--everything --channel ops --for 2h --comment a", "goes with no other condition"),
        ("--channel opps --for 2h --comment a", 'there is no channel "opps"; did you mean "ops"?'),
        ("--source claribbi --for 2h --comment a", 'did you mean "claribi"?'),
        ("--channel ops --comment a", "either --for 2h or --until"),
        ("--channel ops --for 2h --until 2030-01-01 --comment a", "either --for 2h or --until"),
        ("--channel ops --for soon --comment a", "'soon' is no span; write 30m"),
        ("--channel ops --for 0s --comment a", "--for 0s is over already"),
        ("--channel ops --until 2h --comment a", "did you mean --for 2h?"),
        ("--channel ops --until 2020-01-01 --comment a", "is over already"),
        ("--channel ops --until never --comment a", "'never' is no time"),
        ("--channel ops --for 2h", "Missing option '--comment'"),
        ("--channel ops --for 2h --comment ''", "--comment is empty"),
        ("--where event.data.id=4 --for 2h --comment a", "--where is no CEL expression: column 14"),
        ("--where evnt.data.id==4 --for 2h --comment a", "there is no evnt in a condition"),
        ("--severity bad --for 2h --comment a", "'bad' is not one of"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_the_remedy(
    deployment: Deployment, arguments: str, says: str
) -> None:
    words = ["" if word == "''" else word for word in arguments.split()]
    result = deployment.call("silence", "add", *words)
    assert result.returncode == 2
    assert says in " ".join(result.stderr.replace("│", "").split())


def test_a_type_that_nobody_sends_is_warned_of(deployment: Deployment) -> None:
    deployment.serve()
    result = deployment.call(
        "silence", "add", "--type", "billing.credit_low", "--for", "1d12h", "--comment", "a  b\n",
    )  # fmt: skip
    assert result.returncode == 0
    assert "did you mean billing.credits_low?" in result.stderr
    (kept,) = deployment.json("silence", "list")["silences"]
    assert kept["comment"] == "a b"
    twice = [deployment.call("silence", "end", "1").stdout for _ in "12"]
    assert twice[0] == "silence 1 has ended; it held 0 messages\n"
    assert twice[1].startswith("silence 1 was over already, since ")
