"""`clarihook replay`: beside a server and without one, cut off by Ctrl-C and by kill -9."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_deployment import Deployment, eventually

from receiver.store.driver import sqlite3


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """No server runs yet."""
    deployment = Deployment(tmp_path / "home")
    try:
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture
def stored(deployment: Deployment) -> Deployment:
    """A server received these, dealt with them all, and stopped."""
    deployment.serve()
    deployment.send("good.a", "--count", "5")
    deployment.send("loud.b")
    deployment.send("bad.c", "--count", "2")
    deployment.send("other.d")
    eventually(lambda: len(deployment.lines("data/messages.jsonl")) == 1)
    deployment.stop()
    return deployment


def test_without_a_server_it_runs_here_until_all_has_ended(stored: Deployment) -> None:
    """Messages that the handlers say are part of it; the exit status tells of what is dead."""
    result = stored.run("replay", "--since", "1h")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "replay 1 ended: 8 events, 7 succeeded, 2 dead"
    # `other.d`; the two that told of what was dead are not meant.
    assert lines[1] == "no handler or route is for 1 event of the selection"
    assert "replay 1: 100%  7 succeeded, 2 dead" in result.stderr
    for verb in ("pause", "cancel"):
        ended = f"replay 1 has ended; there is nothing left to {verb} of it"
        assert ended in stored.call("replay", verb, "1").stderr
    assert len(stored.lines("data/messages.jsonl")) == 2
    handled = Counter(line.split()[1] for line in stored.lines("handled"))
    assert handled == {"live": 5, "replay": 5}
    shown = stored.call("replay", "show", "1").stdout
    assert "since" in shown
    assert "Reject: no \\x1b[31mluck" in shown

    assert "clarihook deliveries retry --state dead --replay 1" in shown
    listed = stored.json("deliveries", "list", "--state", "dead", "--replay", "1")["deliveries"]
    assert [delivery["replay_id"] for delivery in listed] == [1, 1]

    (stored.home / "mended").touch()
    document = stored.run("replay", "--state", "dead", "--json")
    assert document.returncode == 0
    assert '"succeeded": 2' in document.stdout
    assert "there is nothing to replay" in stored.run("replay", "--state", "dead").stderr
    listed = stored.json("replay", "list")["replays"]
    assert [(replay["id"], replay["status"], replay["done"]) for replay in listed] == [
        (2, "ended", 1.0),
        (1, "ended", 1.0),
    ]


def test_beside_a_server_that_one_runs_it(stored: Deployment) -> None:
    stored.serve()
    events = stored.json("events", "list", "--type", "good.*")["events"]
    first, second = events[0]["id"], events[1]["id"]
    result = stored.run("replay", first, second[:-6], first)
    assert (result.returncode, result.stdout) == (
        0,
        "replay 1 ended: 2 events, 2 succeeded\n",
    )
    assert stored.lines("handled")[5:] == [f"{second} replay", f"{first} replay"]
    (replay,) = stored.json("replay", "list")["replays"]
    assert replay["selection"] == "2 events by id"


def test_a_dry_run_shows_the_events_and_does_nothing(stored: Deployment) -> None:
    result = stored.call("replay", "run", "--type", "good.*", "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "events of type good.*: 5 events"
    assert sum(line.endswith("mine.keep") for line in lines) == 5
    assert lines[-1] == "nothing was done"
    document = stored.json("replay", "run", "--type", "good.*", "--limit", "3", "--dry-run")
    assert document["events"] == 3
    everything = stored.json("replay", "--handler", "mine.keep", "--dry-run")
    assert (everything["events"], everything["selection"]) == (
        9,
        "all events, for handler mine.keep",
    )
    assert stored.json("replay", "list")["replays"] == []
    assert len(stored.lines("handled")) == 5


def test_ctrl_c_pauses_it_and_resume_runs_each_event_exactly_once(deployment: Deployment) -> None:
    """What runs may end first: nothing is cut off in the middle."""
    home = deployment.home
    deployment.serve()
    deployment.send("slow.a", "--count", "20")
    deployment.kill()
    before = set(deployment.lines("started"))
    run = deployment.popen("replay", "--type", "slow.*", "--rate", "40", "--handler", "mine.wait")
    # The server's own deliveries were cut off, and run here too.
    eventually(lambda: len(deployment.lines("started")) >= len(before) + 4)
    eventually(lambda: deployment.json("replay", "list")["replays"] != [])
    run.send_signal(signal.SIGINT)
    (home / "go").touch()
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "paused; nothing is lost. Go on: clarihook replay resume 1" in out
    (replay,) = deployment.json("replay", "list")["replays"]
    assert replay["status"] in ("paused", "running")

    result = deployment.run("replay", "resume", "1")
    assert result.returncode == 0, result.stderr
    assert "replay 1 ended: 20 events, 20 succeeded" in result.stdout
    # One live delivery and one of the replay for each event.
    assert set(Counter(deployment.lines("handled")).values()) == {2}
    assert len(set(deployment.lines("handled"))) == 20


def test_kill_9_leaves_a_replay_that_can_be_finished(deployment: Deployment) -> None:
    deployment.serve()
    (deployment.home / "go").touch()
    deployment.send("slow.a", "--count", "20")
    eventually(lambda: len(deployment.lines("handled")) == 20)
    deployment.stop()
    (deployment.home / "go").unlink()
    run = deployment.popen("replay", "--type", "slow.*", "--rate", "200")
    eventually(lambda: len(deployment.lines("started")) > 20)
    run.kill()
    run.communicate(timeout=60)
    (deployment.home / "go").touch()
    result = deployment.run("replay", "resume", "1", "--json")
    assert result.returncode == 0, result.stderr
    shown = deployment.json("replay", "show", "1")
    assert (shown["events"], shown["states"]) == (20, {"succeeded": 20})
    assert set(Counter(deployment.lines("handled")).values()) == {2}


def test_a_server_goes_on_with_a_replay_whose_command_was_killed(stored: Deployment) -> None:
    """At its start too: a replay survives whoever began it, and goes on at its own pace."""
    run = stored.popen("replay", "--type", "good.*", "--rate", "2")
    assert run.stderr is not None
    run.stderr.readline()
    run.kill()
    run.communicate(timeout=60)
    assert stored.json("replay", "show", "1")["status"] == "running"
    # As if it were longer ago: the test need not wait for what a server waits.
    database = sqlite3.connect(stored.home / "data/clarihook.db")
    with database:
        database.execute("UPDATE replays SET driven_at = 1")
    database.close()
    stored.serve()
    eventually(lambda: stored.json("replay", "show", "1")["status"] == "ended")
    shown = stored.json("replay", "show", "1")
    assert (shown["states"], shown["events_per_second"]) == ({"succeeded": 5}, 2.0)
    replayed = Counter(line for line in stored.lines("handled") if line.endswith("replay"))
    assert len(replayed) == 5
    assert set(replayed.values()) == {1}


def test_a_replay_beside_a_server_is_cancelled_from_elsewhere(deployment: Deployment) -> None:
    deployment.serve()
    (deployment.home / "go").touch()
    deployment.send("slow.a", "--count", "12")
    eventually(lambda: len(deployment.lines("handled")) == 12)
    (deployment.home / "go").unlink()
    run = deployment.popen("replay", "--type", "slow.*")
    eventually(lambda: len(deployment.lines("started")) == 14)  # half of its four places
    niceness = os.getpriority(os.PRIO_PROCESS, run.pid)
    assert niceness >= 10, "live events come first, at the processor too"
    result = deployment.call("replay", "cancel", "1")
    assert result.returncode == 0
    assert "replay 1 cancelled: 12 events, 2 running, 10 cancelled" in result.stdout
    (deployment.home / "go").touch()
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "replay 1 cancelled: 12 events, 2 succeeded, 10 cancelled" in out


def test_a_server_that_stops_meanwhile_is_noticed(deployment: Deployment) -> None:
    """What it had not run is then run by whoever resumes."""
    deployment.serve()
    (deployment.home / "go").touch()
    deployment.send("slow.a", "--count", "6")
    eventually(lambda: len(deployment.lines("handled")) == 6)
    (deployment.home / "go").unlink()
    run = deployment.popen("replay", "--type", "slow.*")
    eventually(lambda: len(deployment.lines("started")) == 8)
    deployment.kill()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "the server has stopped, so nothing runs the deliveries. Nothing is lost" in err
    (deployment.home / "go").touch()
    assert "6 succeeded" in deployment.run("replay", "resume", "1").stdout


def test_user_errors_say_what_to_do(stored: Deployment) -> None:
    for arguments, text in (
        (["run"], "say which: ids, --type, --source, --since"),
        (["evt_00"], "there is no event evt_00; see `clarihook events list`"),
        (["--since", "1h", "--handler", "mine.kepe"], "did you mean 'mine.keep'?"),
        (["--handler", "mine.keep"], "say which: ids, --type, --source, --since"),
        (["--since", "1h", "--rate", "0"], "--rate 0 would never end"),
        (["--type", "nothing.*"], "there is nothing to replay: events of type nothing.*"),
        (["show", "7"], "there is no replay 7; see `clarihook replay list`"),
        (["cancel", "7"], "there is no replay 7"),
        (["resume", "7"], "there is no replay 7"),
        (["--colour", "red"], "No such option"),
    ):
        run = stored.run if text.startswith("there is nothing") else stored.call
        result = run("replay", *arguments)
        assert result.returncode == 2, arguments
        assert text in result.stderr + result.stdout, arguments
        assert "Traceback" not in result.stderr
