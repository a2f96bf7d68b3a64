"""Settings and handlers that change under a running server."""

import http.client
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from serve_process import (
    SECRET,
    Load,
    Serve,
    event_body,
    opened,
    serving,
    settle,
    write_home,
)

from receiver.store.sharing import can_share

UNFINISHED = "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"

SLOW = """
import asyncio
import os
from pathlib import Path

from receiver import Context, on

HOME = Path(__file__).parents[1]


@on("test.slow")
async def slow(event: dict, ctx: Context) -> None:
    with (HOME / "begun").open("a") as file:
        file.write("x")
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
    ctx.notify("file", title="WORD", body="ended")
"""

ROUTE = '[[routes]]\nname = "load"\nmatch = "load.*"\nnotify = "{channel}"\n'


def settings(home: Path, more: str, *, secret: str = f'"{SECRET}"') -> None:
    """Write the settings as an editor does: whole, by renaming."""
    file = home / "config" / "clarihook.toml"
    new = file.with_suffix(".new")
    new.write_text(
        f'[sources.claribi]\nscheme = "claribi"\nsecrets = [{secret}]\n'
        f'[channels.file]\nurls = ["file://messages.jsonl"]\n{more}',
        "utf-8",
    )
    new.rename(file)


def channel(name: str) -> str:
    return f'[channels.{name}]\nurls = ["file://{name}.jsonl"]\n'


def reload(serve: Serve, says: str = "reload.looked_back") -> list[dict[str, object]]:
    """Send SIGHUP and wait; the lines since."""
    before = len(serve.lines)
    serve.signal(signal.SIGHUP)
    return wait_for(serve, says, before)


def wait_for(serve: Serve, says: str, before: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + 30
    while not any(says in line for line in serve.lines[before:]):
        assert time.monotonic() < deadline, f"it does not say {says}: {serve.said}"
        assert serve.process.poll() is None, serve.said
        time.sleep(0.01)
    return [json.loads(line) for line in serve.lines[before:] if line.startswith("{")]


def named(lines: list[dict[str, object]], event: str) -> list[dict[str, object]]:
    return [line for line in lines if line["event"] == event]


def appears(file: Path) -> str:
    deadline = time.monotonic() + 30
    while not file.exists() or not file.read_text("utf-8"):
        assert time.monotonic() < deadline, f"there is no {file}"
        time.sleep(0.01)
    return file.read_text("utf-8")


def test_a_new_channel_is_used_and_the_difference_is_told(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    settings(home, channel("old") + ROUTE.format(channel="old"))
    with serving(home, "--no-reload") as serve:
        event_id = serve.post(event_body("one"))[1]["id"]
        assert "load.sent" in appears(home / "old.jsonl")
        settings(home, channel("new") + ROUTE.format(channel="new"))
        lines = reload(serve)
        (done,) = named(lines, "reload.done")
        assert done["changed"] == ["channels.old", "channels.new", "routes[0].notify"]
        assert done["handlers"] == "as before"
        (rerouted,) = named(lines, "reload.rerouted")
        assert rerouted["event_id"] == event_id
        assert rerouted["change"] == '+new -old (route 1 "load")'
        serve.post(event_body("two"))
        assert "load.sent" in appears(home / "new.jsonl")
        assert len((home / "old.jsonl").read_text("utf-8").splitlines()) == 1
        assert serve.stop() == 0


def test_invalid_settings_are_refused_whole_and_the_next_write_is_taken(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home) as serve:
        settings(home, channel("new") + ROUTE.format(channel="nobody"))
        (refused,) = named(wait_for(serve, "reload.refused", 0), "reload.refused")
        assert "clarihook.toml:11: routes[0].notify" in str(refused["problems"])
        assert serve.post(event_body("one"))[0] == 202
        appears(home / "messages.jsonl")
        before = len(serve.lines)
        settings(home, channel("new") + ROUTE.format(channel="new"))
        wait_for(serve, "reload.looked_back", before)
        serve.post(event_body("two"))
        appears(home / "new.jsonl")


def test_a_run_outlives_the_reload_of_its_handler(tmp_path: Path) -> None:
    home = write_home(tmp_path, handlers=SLOW.replace("WORD", "old"))
    with serving(home, "--no-reload") as serve:
        serve.post(event_body("one", "test.slow"))
        appears(home / "begun")
        (home / "handlers" / "deployed.py").write_text(SLOW.replace("WORD", "new"), "utf-8")
        (done,) = named(reload(serve), "reload.done")
        assert done["handlers"] == "loaded anew"
        (home / "go").touch()
        serve.post(event_body("two", "test.slow"))
        settle(home, UNFINISHED)
        titles = [json.loads(line)["title"] for line in appears(home / "messages.jsonl").split("\n")
                  if line]  # fmt: skip
        assert sorted(titles) == ["new", "old"]
        assert (home / "begun").read_text("utf-8") == "xx"


def test_a_handler_file_that_is_broken_is_refused(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home, "--no-reload") as serve:
        (home / "handlers" / "deployed.py").write_text("def broken(:\n", "utf-8")
        (refused,) = named(reload(serve, "reload.refused"), "reload.refused")
        assert "deployed.py failed to load" in str(refused["problems"])
        serve.post(event_body("one"))
        appears(home / "handled")


def test_a_rotated_secret_is_the_only_one_that_verifies(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    secret = home / "secret"
    secret.write_text(SECRET + "\n", "utf-8")
    secret.chmod(0o600)
    settings(home, "", secret='"file:secret"')
    with serving(home, "--no-reload") as serve:
        assert serve.post(event_body("one"))[0] == 202
        secret.write_text("another-secret-for-tests-000002\n", "utf-8")
        lines = reload(serve)
        assert named(lines, "reload.done")[0]["changed"] == ["sources.claribi.secrets"]
        assert serve.post(event_body("two"))[0] == 401
        secret.write_text(SECRET + "\n", "utf-8")
        reload(serve)
        assert serve.post(event_body("three"))[0] == 202
        assert "another-secret" not in serve.said
        assert SECRET not in serve.said


def test_what_needs_a_restart_is_named_and_stays(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home, "--no-reload") as serve:
        settings(home, '[server]\nhost = "0.0.0.0"\nmax_body_bytes = 10\n')
        lines = reload(serve)
        assert named(lines, "reload.needs_restart")[0]["keys"] == ["server.host"]
        assert named(lines, "reload.done")[0]["changed"] == ["server.max_body_bytes"]
        assert serve.post(event_body("one"))[0] == 413


def test_no_event_is_lost_or_handled_twice_while_it_reloads(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home, "--no-reload") as serve:
        load = Load(serve, "load", clients=3, enough=20)
        assert load.has_begun.wait(30)
        for number in range(20):
            handlers = (home / "handlers" / "deployed.py").read_text("utf-8")
            (home / "handlers" / "deployed.py").write_text(handlers + f"# {number}\n", "utf-8")
            settings(home, channel(f"c{number}") + ROUTE.format(channel=f"c{number}"))
            reload(serve, "reload.done")
        load.end()
        assert set(load.statuses) == {202}, load.statuses
        # Messages to channels that are gone wait for nobody, as they would after a restart.
        settle(home, f"{UNFINISHED} AND name NOT LIKE 'c%/%'")
        handled = Counter((home / "handled").read_text("utf-8").split())
        assert handled.keys() == load.accepted.keys()
        assert set(handled.values()) == {1}


def test_an_open_circuit_and_a_waiting_retry_stay(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    dead = '[channels.down]\nurls = ["json://127.0.0.1:1/"]\ncircuit_failures = 1\n'
    settings(home, dead + ROUTE.format(channel="down"))
    query = "SELECT state, due_at, attempts FROM deliveries WHERE name LIKE 'down/%'"
    with serving(home, "--no-reload") as serve:
        serve.post(event_body("one"))
        serve.says("target.circuit_opened")
        serve.says("delivery.retrying")
        with opened(home) as database:
            before = database.execute(query).fetchall()
        settings(home, dead + channel("more") + ROUTE.format(channel="down"))
        reload(serve)
        with opened(home) as database:
            assert database.execute(query).fetchall() == before
        assert health(serve)["open_circuits"] == ["down/1-json"]
        settings(home, dead.replace(":1/", ":2/") + ROUTE.format(channel="down"))
        reload(serve)
        deadline = time.monotonic() + 30
        while health(serve)["open_circuits"]:  # another address begins anew
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_threads_and_memory_do_not_grow(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home, "--no-reload") as serve:

        def round_(number: int) -> int:
            name = f"c{number}"
            settings(home, channel(name) + ROUTE.format(channel=name))
            reload(serve)
            serve.post(event_body(f"event {number}"))
            appears(home / f"{name}.jsonl")
            settle(home, UNFINISHED)
            return len(list(Path(f"/proc/{serve.process.pid}/task").iterdir()))

        threads = [round_(number) for number in range(5)]
        memory = serve.memory_bytes()
        threads = [round_(number) for number in range(5, 55)]
        # One for the channel that goes may not have ended yet when the next one has begun.
        assert threads[-1] <= threads[0] + 2
        assert serve.memory_bytes() - memory < 16 * 1024 * 1024


def health(serve: Serve) -> dict[str, object]:
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=20)
    try:
        connection.request("GET", "/health")
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


@pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here")
def test_all_workers_take_it_or_none(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with serving(home, "--no-reload", "--workers", "2") as serve:
        settings(home, ROUTE.format(channel="nobody"))
        reload(serve, "serve.reload_refused")
        settings(home, channel("new") + ROUTE.format(channel="new"))
        lines = reload(serve, "serve.reloaded")
        assert len(named(lines, "reload.done")) == 2
        for number in range(20):
            assert serve.post(event_body(f"event {number}"))[0] == 202
        settle(home, UNFINISHED)
        assert len((home / "new.jsonl").read_text("utf-8").splitlines()) == 20
        assert serve.stop() == 0


@pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here")
def test_a_worker_without_a_server_reloads_too(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    work = Serve(home, program=[sys.executable, "-m", "receiver.cli", "work"])
    try:
        work.says("clarihook works on")
        settings(home, channel("new"))  # its file watch sees it
        wait_for(work, "reload.looked_back", 0)
        assert work.stop() == 0
    finally:
        if work.process.poll() is None:
            work.kill()


def test_a_folder_that_is_swapped_by_a_link_is_seen(tmp_path: Path) -> None:
    """As Kubernetes does with a ConfigMap: `..data` is renamed over."""
    home = write_home(tmp_path)
    config = home / "config"
    for version in ("one", "two"):
        (config / f"..{version}").mkdir()
        more = channel(version)
        settings(home, more)
        (config / "clarihook.toml").rename(config / f"..{version}" / "clarihook.toml")
    (config / "..data").symlink_to("..one")
    (config / "clarihook.toml").symlink_to("..data/clarihook.toml")
    with serving(home) as serve:
        (config / "..data_tmp").symlink_to("..two")
        (config / "..data_tmp").rename(config / "..data")
        (done,) = named(wait_for(serve, "reload.looked_back", 0), "reload.done")
        assert done["changed"] == ["channels.one", "channels.two"]
