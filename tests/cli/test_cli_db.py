"""`clarihook db` from the shell, beside a server and without one."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from live_deployment import Deployment, eventually
from sqlite_utils import Database

from receiver.store.driver import sqlite3
from receiver.store.migrations import migrations


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "home")


def test_a_copy_of_a_busy_server_serves(deployment: Deployment, tmp_path: Path) -> None:
    """A10: the copy has every event that was acknowledged before it began, and is sound."""
    deployment.serve()
    try:
        before = deployment.send("good.a", "--count", "30")
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                deployment.run("events", "send", "good.b", "--count", "20", "--url",
                               f"{deployment.origin}/hooks/claribi")  # fmt: skip

        sender = threading.Thread(target=load)
        sender.start()
        try:
            made = [deployment.run("db", "backup", str(tmp_path)) for _ in range(2)]
            checked = deployment.run("db", "check")
        finally:
            stop.set()
            sender.join()
    finally:
        deployment.stop()
    assert (checked.returncode, checked.stdout) == (0, "sound\n")
    # The second may fall into the same second as the first, and is not written over it.
    assert made[0].returncode == 0, made[0].stderr
    assert "checked" in made[0].stdout
    copy = min(tmp_path.glob("clarihook-*.db"))
    other = Deployment(tmp_path / "other")
    (other.home / "data").mkdir()
    shutil.copy(copy, other.home / "data/clarihook.db")
    assert other.json("db", "check") == {"sound": True, "problems": []}
    listed = other.json("events", "list", "--type", "good.a", "--limit", "100")["events"]
    assert {event["id"] for event in listed} == set(before)
    other.serve()
    try:
        other.send("good.c")
    finally:
        other.stop()


def test_a_copy_replaces_nothing_unasked(deployment: Deployment, tmp_path: Path) -> None:
    deployment.call("db", "migrate")
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    refused = deployment.call("db", "backup", str(copy))
    assert refused.returncode == 2
    assert "exists; name another file, or add --force" in refused.stderr
    assert copy.read_text() == "mine"
    assert deployment.json("db", "backup", str(copy), "--force")["bytes"] == copy.stat().st_size
    itself = deployment.call("db", "backup", str(deployment.home / "data/clarihook.db"), "--force")
    assert "is the database itself" in itself.stderr
    nowhere = deployment.call("db", "backup", str(tmp_path / "no/copy.db"))
    assert (nowhere.returncode, "there is no such folder" in nowhere.stderr) == (2, True)


def test_migrate_makes_and_updates_but_not_beside_a_server(deployment: Deployment) -> None:
    path = deployment.home / "data/clarihook.db"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    migrations.apply(Database(connection, execute_plugins=False), stop_before="0002_views")
    connection.close()
    old = deployment.call("events", "list")
    assert (old.returncode, "`clarihook db migrate` brings it up" in old.stderr) == (1, True)
    dry = deployment.json("db", "migrate", "--dry-run")
    assert dry["applied"] == []
    assert dry["pending"][0] == "0002_views"
    done = deployment.call("db", "migrate")
    assert done.stdout.splitlines()[0] == "done  0002_views"
    assert deployment.call("db", "migrate").stdout.startswith("up to date: 0")
    assert deployment.json("db", "stats")["rows"]["events"] == 0
    deployment.serve()
    try:
        assert deployment.call("db", "migrate").returncode == 0
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0002_views'")
        connection.commit()
        connection.close()
        refused = deployment.call("db", "migrate")
        assert (refused.returncode, "is serving this database already" in refused.stderr) == (
            1, True,
        )  # fmt: skip
    finally:
        deployment.stop()


def test_check_names_what_is_wrong_and_fails(deployment: Deployment) -> None:
    deployment.serve()
    deployment.send("good.a")
    eventually(lambda: deployment.json("db", "stats")["states"] == {"succeeded": 1})
    deployment.stop()
    connection = sqlite3.connect(deployment.home / "data/clarihook.db")
    connection.execute("DELETE FROM attempts")
    connection.commit()
    connection.close()
    result = deployment.call("db", "check")
    assert result.returncode == 1
    assert "succeeded without an attempt that delivered" in result.stdout
    assert deployment.json("db", "check", "--quick")["sound"] is False
    for page in range(1, 4):
        with (deployment.home / "data/clarihook.db").open("r+b") as file:
            file.seek(4096 * page)
            file.write(b"\xff" * 4096)
    broken = deployment.call("db", "check")
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr


def test_prune_says_first_what_it_would_remove(deployment: Deployment) -> None:
    deployment.serve()
    try:
        deployment.send("good.a", "--count", "3")
        deployment.send("bad.b")
        # A dead delivery raises an event of clarihook's own: it makes five.
        eventually(lambda: deployment.json("db", "stats")["rows"]["events"] == 5)
        eventually(lambda: deployment.json("db", "stats")["states"] == {"succeeded": 3, "dead": 1})
        old = ("--keep", "0s", "--keep-dedupe", "0s")
        dry = deployment.json("db", "prune", *old, "--dry-run")
        assert dry == {"dry_run": True, "events": 4, "dedupe_keys": 5, "kept_events": 1}
        asked = deployment.call("db", "prune", *old)
        assert asked.returncode == 2
        assert "this would remove 4 events and 5 dedupe keys for good; add --yes" in asked.stderr
        assert deployment.json("db", "stats")["rows"]["events"] == 5
        done = deployment.call("db", "prune", *old, "--yes")
        first, second = done.stdout.splitlines()
        assert first == "removed 4 events and 5 dedupe keys"
        assert second.startswith("1 old event kept: a delivery of each is dead or has not ended")
        rows = deployment.json("db", "stats")["rows"]
        assert (rows["events"], rows["dedupe_keys"]) == (1, 0)
        # Within what the settings keep nothing is removed, and nobody is asked.
        kept = deployment.call("db", "prune")
        assert kept.stdout == "removed 0 events and 0 dedupe keys\n"
    finally:
        deployment.stop()
    wrong = deployment.call("db", "prune", "--keep", "soon")
    assert (wrong.returncode, "--keep soon: write a duration" in wrong.stderr) == (2, True)


def test_stats_say_what_there_is(deployment: Deployment) -> None:
    deployment.serve()
    try:
        deployment.send("loud.a", "--count", "2")
        eventually(lambda: len(deployment.lines("data/messages.jsonl")) == 2)
        eventually(lambda: deployment.json("db", "stats")["states"] == {"succeeded": 4})
        text = deployment.call("db", "stats").stdout
        found = json.loads(deployment.call("db", "stats", "--json").stdout)
    finally:
        deployment.stop()
    assert "ops/1-file" in text
    assert found["types"][0]["events"] == 2
    assert found["bytes"]["wal"] > 0
    assert found["oldest_event"] <= found["newest_event"]
    assert {"kind": "target", "name": "ops/1-file", "state": "succeeded", "count": 2} in found[
        "deliveries"
    ]
