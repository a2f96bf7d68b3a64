"""`clarihook deliveries`: what is dead says why, and a person moves it, beside a server or not."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_deployment import Deployment, eventually


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    try:
        yield deployment
    finally:
        deployment.stop()


def states(deployment: Deployment, *options: str) -> list[str]:
    found = deployment.json("deliveries", "list", "--limit", "1000", *options)["deliveries"]
    return [delivery["state"] for delivery in found]


def dead_ids(deployment: Deployment, count: int) -> list[str]:
    """Their ids, once there are so many."""
    command = ("deliveries", "list", "--state", "dead")
    return eventually(
        lambda: (
            len(found := [d["id"] for d in deployment.json(*command)["deliveries"]]) == count
            and found
        )
    )


def test_what_is_dead_is_found_explained_and_retried_beside_the_server(
    deployment: Deployment,
) -> None:
    (event_id,) = deployment.send("bad.a")
    deployment.send("good.a")
    (dead,) = dead_ids(deployment, 1)
    assert states(deployment, "--event", event_id[:-4]) == ["dead"]
    eventually(lambda: states(deployment, "--handler", "mine.k*") == ["succeeded"])
    assert states(deployment, "--since", "1h", "--until", "1m") == []
    assert states(deployment, "--since", "1h") == ["succeeded", "dead"]

    shown = deployment.run("deliveries", "show", dead).stdout
    assert f"{event_id}  bad.a" in shown
    assert "mine.fail  dead" in shown
    assert "Reject: no \\x1b[31mluck" in shown

    (deployment.home / "mended").touch()
    result = deployment.run("deliveries", "retry", dead)
    assert (result.returncode, result.stdout) == (0, "retried 1 delivery\n")
    eventually(lambda: states(deployment, "--event", event_id) == ["succeeded"])
    attempts = deployment.json("deliveries", "show", dead)["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["permanent", "delivered"]
    most = deployment.json("deliveries", "show", dead)["max_attempts"]
    assert most == 1 + 8, "the one before the revival comes to all that it may have"
    assert f"attempt 2 of {most}" in deployment.run("deliveries", "show", dead).stdout


def test_many_are_moved_by_their_state_with_or_without_a_server(deployment: Deployment) -> None:
    deployment.send("bad.a", "--count", "7")
    ids = dead_ids(deployment, 7)
    asked = deployment.run("deliveries", "retry", "--state", "dead")
    assert asked.returncode == 2
    assert "this would retry 7 deliveries; add --yes" in asked.stderr
    assert states(deployment) == ["dead"] * 7

    result = deployment.call("deliveries", "discard", *ids[:2], "--reason", "enough", "--yes")
    assert result.stdout == "discarded 2 deliveries\n"
    assert deployment.json("deliveries", "show", ids[0])["reason"] == "enough"
    assert states(deployment, "--state", "cancelled") == ["cancelled"] * 2

    deployment.stop()
    changed = deployment.json("deliveries", "retry", "--state", "dead", "--name", "m*", "--yes")
    assert sorted(changed["retried"]) == sorted(ids[2:])
    # Nothing runs here: they wait for a server.
    assert sorted(states(deployment)) == ["cancelled"] * 2 + ["pending"] * 5
    changed = deployment.json("deliveries", "discard", "--state", "pending", "-y")
    assert len(changed["discarded"]) == 5
    assert states(deployment) == ["cancelled"] * 7


def test_what_cannot_be_moved_is_said(deployment: Deployment) -> None:
    deployment.send("bad.a")
    (dead,) = dead_ids(deployment, 1)
    deployment.call("deliveries", "discard", dead)
    result = deployment.call("deliveries", "retry", dead)
    assert result.returncode == 1
    assert "retried 0 deliveries" in result.stdout
    assert f"unchanged: {dead} is not dead, retrying, pending or held" in result.stdout
    wrong = dead[:-1] + ("0" if dead[-1] != "0" else "1")
    for arguments, text in (
        (["show", wrong], f"there is no delivery {wrong}; did you mean {dead}?"),
        (["show", "evt_1"], "'evt_1' is no delivery id; they look like dlv_"),
        (["show", "dlv_xyz"], "there is no delivery dlv_xyz; see `clarihook deliveries list`"),
        (["retry"], "say which: ids, or --state dead, but not both"),
        (["retry", dead, "--state", "dead"], "but not both"),
        (["retry", "--state", "succeeded"], "to run it once more, see `clarihook replay`"),
        (["list", "--state", "daed"], "'daed' is not one of 'pending', 'running'"),
    ):
        result = deployment.call("deliveries", *arguments)
        assert result.returncode == 2, arguments
        assert text in " ".join(result.stderr.replace("│", " ").split())


def test_what_waits_for_an_open_circuit_says_so(tmp_path: Path) -> None:
    """In the list, in its story, and in the server's health."""
    with socket.socket() as probe:  # bound, and nobody listens: refused at once
        probe.bind(("127.0.0.1", 0))
        deployment = Deployment(tmp_path / "home")
        config = deployment.home / "config/clarihook.toml"
        channel = f'urls = ["json://127.0.0.1:{probe.getsockname()[1]}/"]\ncircuit_failures = 1'
        file_channel = 'urls = ["file://data/messages.jsonl"]'
        config.write_text(config.read_text().replace(file_channel, channel))
        deployment.serve()
        try:
            deployment.send("loud.a", "--count", "3")
            command = ("deliveries", "list", "--name", "ops/*")
            waiting = eventually(
                lambda: [
                    found
                    for found in deployment.json(*command)["deliveries"]
                    if found["state"] == "pending" and (found["reason"] or "").startswith("waits: ")
                ]
            )
            expected = (
                r"waits: the circuit of ops/1-json is open until 20\d\d-\S+Z: "
                r"not reached \(Connection refused\)"
            )
            assert re.fullmatch(expected, waiting[0]["reason"])
            assert waiting[0]["attempts"] == 0
            assert re.search(expected, deployment.call(*command).stdout)
            shown = deployment.call("deliveries", "show", waiting[0]["id"]).stdout
            assert re.search(expected, " ".join(shown.split()))
            with urllib.request.urlopen(f"{deployment.origin}/health") as answer:
                assert json.load(answer)["open_circuits"] == ["ops/1-json"]
        finally:
            deployment.stop()
