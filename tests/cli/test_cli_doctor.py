"""`clarihook doctor`: a sound deployment passes, and whatever is broken is found, with a remedy."""

import asyncio
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from live_deployment import HANDLERS, Deployment, eventually

from receiver.doctor import examine
from receiver.doctor.crash_test import _count, _settle
from receiver.doctor.files import file_system
from receiver.doctor.machine import _examine_clock, _examine_sqlite
from receiver.doctor.senders import Answers, Senders
from receiver.doctor.throwaway import serving, throwaway
from receiver.model import NewEvent
from receiver.signatures import SchemeSpec, build_scheme
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

OF_THE_MACHINE = {"sqlite", "folder", "disk"}
"""What is to be said of these is the test machine's, not ours."""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path / "home")
    (made.home / "config/clarihook.toml").chmod(0o600)
    return made


def findings(deployment: Deployment, *arguments: str, status: int = 0) -> dict[str, dict[str, Any]]:
    """What the command says, by check; the worst of a check that has several."""
    result = deployment.call("doctor", "--json", *arguments)
    assert result.returncode == status, result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["ok"] == (status == 0)
    order = ["ok", "warning", "fault"]
    found: dict[str, dict[str, Any]] = {}
    for each in document["findings"]:
        assert bool(each["remedy"]) == (each["verdict"] != "ok"), each
        known = found.setdefault(each["check"], each)
        if order.index(each["verdict"]) > order.index(known["verdict"]):
            found[each["check"]] = each
    return found


def configure(deployment: Deployment, text: str) -> None:
    file = deployment.home / "config/clarihook.toml"
    file.write_text(f"{file.read_text()}\n{text}")


def handled(deployment: Deployment, *states: str) -> None:
    """Wait until deliveries are in no other states than these."""

    def holds() -> bool:
        listed = deployment.json("deliveries", "list")["deliveries"]
        return bool(listed) and {each["state"] for each in listed} <= set(states)

    eventually(holds)


def test_beside_a_server_all_is_well_and_nothing_is_changed(deployment: Deployment) -> None:
    deployment.serve()
    try:
        deployment.send("good.a")
        handled(deployment, "succeeded")
        assert deployment._server is not None
        found = findings(deployment)
        assert f"process {deployment._server.pid}" in found["workers"]["text"]
        assert "1 succeeded" in found["backlog"]["text"]
        assert "4 loaded" in found["handlers"]["text"]
        warned = {check for check, each in found.items() if each["verdict"] == "warning"}
        # The secret is in the file, which nobody else can read.
        assert warned - OF_THE_MACHINE == {"secrets", "claribi"}
        result = deployment.call("doctor")
        assert result.returncode == 0
        assert result.stdout.splitlines()[-1].endswith(" warning, 0 fault")
        assert len(result.stdout.splitlines()) == len(found) + 1, "one line for each check"
    finally:
        deployment.stop()


def test_a_dead_server_is_told_from_a_live_one(deployment: Deployment) -> None:
    deployment.serve()
    deployment.kill()
    found = findings(deployment)
    assert found["workers"]["verdict"] == "warning"
    assert "1 ended without a goodbye" in found["workers"]["text"]


def test_before_the_first_start_only_the_database_is_missing(deployment: Deployment) -> None:
    found = findings(deployment)
    assert found["database"]["verdict"] == "warning"
    assert "serve" in found["database"]["remedy"]
    assert not (deployment.home / "data").exists()


def test_a_folder_that_is_no_deployment(tmp_path: Path, deployment: Deployment) -> None:
    shutil.rmtree(deployment.home / "config")
    assert "clarihook init" in findings(deployment, status=1)["settings"]["text"]


def test_wrong_settings_are_named_and_the_rest_is_looked_at(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    configure(deployment, '[claribi]\napi_key = "env:NOT_SET_ANYWHERE"\n')
    found = findings(deployment, status=1)
    assert "NOT_SET_ANYWHERE" in found["settings"]["text"]
    assert found["handlers"]["verdict"] == "ok"
    configure(deployment, "[server]\nprot = 1\n")
    found = findings(deployment, status=1)
    assert "did you mean" in found["settings"]["text"]
    assert "handlers" not in found


def test_a_secret_that_everybody_can_read(deployment: Deployment) -> None:
    (deployment.home / "config/clarihook.toml").chmod(0o644)
    found = findings(deployment, status=1)["secrets"]
    assert "chmod 600" in found["remedy"]
    assert "made-up secret" not in found["text"]


def test_a_handler_file_that_can_not_be_loaded(deployment: Deployment) -> None:
    (deployment.home / "handlers/broken.py").write_text("import nothing_of_that_name\n")
    found = findings(deployment, status=1)["handlers"]
    assert "broken.py" in found["text"]
    assert "No module named 'nothing_of_that_name'" in found["text"]


def test_a_channel_whose_url_is_wrong(deployment: Deployment) -> None:
    configure(deployment, '[channels.lost]\nurls = ["nosuchservice://a-token"]\n')
    found = findings(deployment, status=1)["channels"]
    assert "channels.lost" in found["text"]
    assert "a-token" not in found["text"]


def test_dead_deliveries_and_those_that_nobody_runs(deployment: Deployment) -> None:
    deployment.serve()
    deployment.send("bad.a", "--count", "2")
    handled(deployment, "dead")
    deployment.stop()
    found = findings(deployment)["dead"]
    assert found["verdict"] == "warning"
    assert "2 of mine.fail" in found["text"]
    assert deployment.call("deliveries", "retry", "--state", "dead", "--yes").returncode == 0
    (deployment.home / "handlers/mine.py").write_text(HANDLERS.replace('@on("bad.*")', ""))
    found = findings(deployment)["orphans"]
    assert found["verdict"] == "warning"
    assert "2 of mine.fail" in found["text"]


def test_a_full_backlog(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(deployment, "[dispatch]\nenabled = false\n")
    deployment.serve()
    deployment.send("good.a", "--count", "4")
    deployment.stop()
    monkeypatch.setenv("CLARIHOOK_STORE__MAX_BACKLOG", "5")
    assert findings(deployment)["backlog"]["verdict"] == "warning"
    monkeypatch.setenv("CLARIHOOK_STORE__MAX_BACKLOG", "4")
    assert "503" in findings(deployment, status=1)["backlog"]["text"]


def test_a_disk_without_room(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARIHOOK_STORE__MIN_FREE_BYTES", str(10**18))
    assert "503" in findings(deployment, status=1)["disk"]["text"]


def damage(database: Path) -> None:
    content = bytearray(database.read_bytes())
    for page in range(4096 * 2, len(content), 4096):
        content[page + 8 : page + 600] = b"\xff" * 592
    database.write_bytes(content)


def test_a_damaged_database(deployment: Deployment) -> None:
    deployment.serve()
    deployment.send("good.a", "--count", "20")
    deployment.stop()
    database = deployment.home / "data/clarihook.db"
    damage(database)
    found = findings(deployment, status=1)
    (broken,) = [each for each in found.values() if each["verdict"] == "fault"]
    assert broken["check"] in ("database", "soundness")
    assert "backup" in broken["remedy"].lower()
    database.write_bytes(b"no database at all" * 400)
    assert "is not a SQLite database" in findings(deployment, status=1)["database"]["text"]


def test_a_database_that_others_can_read(deployment: Deployment) -> None:
    deployment.serve()
    deployment.stop()
    (deployment.home / "data/clarihook.db").chmod(0o644)
    found = findings(deployment)["permissions"]
    assert found["verdict"] == "warning"
    assert "chmod 600" in found["remedy"]


def test_events_from_the_future(deployment: Deployment) -> None:
    async def store_one() -> None:
        store = SqliteStore(deployment.home / "data/clarihook.db")
        await store.open()
        now = int((time.time() + 86_400) * 1000)
        await store.record(
            NewEvent(new_event_id(now), "claribi", "a", now, b"{}", "", None, 0, b"key"), []
        )
        await store.close()

    asyncio.run(store_one())
    found = findings(deployment)["events"]
    assert found["verdict"] == "warning"
    assert "in the future" in found["text"]


def test_the_api_is_called_only_when_asked_for(deployment: Deployment) -> None:
    configure(
        deployment,
        '[claribi]\napi_key = "a made-up key"\nbase_url = "http://127.0.0.1:9/api/"\n'
        'timeout = "2s"\n',
    )
    assert findings(deployment)["claribi"]["verdict"] == "ok"
    found = findings(deployment, "--online", status=1)
    assert "http://127.0.0.1:9/api/" in found["claribi-api"]["text"]


def test_an_old_sqlite_and_a_clock_that_stands_still() -> None:
    assert _examine_sqlite((3, 40, 1)).verdict == "warning"
    assert "pysqlite3" in _examine_sqlite((3, 40, 1)).remedy
    assert _examine_sqlite((3, 37, 2)).verdict == "fault"
    assert _examine_sqlite((3, 53, 4)).verdict == "ok"
    assert _examine_clock(0.0).verdict == "fault"
    assert _examine_clock(time.time()).verdict == "ok"


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "a share"
    share.mkdir()
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        f"server:/x {str(share).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n"
    )
    assert file_system(share, mounts) == "nfs4"
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rounds", "3"], "--crash-test"),
        (["--crash-test", "--online"], "one after the other"),
        (["--crash-test", "--rounds", "0"], "greater than"),
        (["--crash-test"], "no such folder yet"),
    ],
)
def test_what_does_not_fit_is_refused(
    deployment: Deployment, arguments: list[str], text: str
) -> None:
    result = deployment.call("doctor", *arguments)
    assert result.returncode == 2
    assert text in " ".join(result.stderr.replace("│", " ").split())


def test_examine_goes_on_behind_each_fault(deployment: Deployment) -> None:
    """The checks that every report has, in its order."""
    checks = list(dict.fromkeys(each.check for each in examine(deployment.home)))
    assert checks == [
        "clarihook", "sqlite", "clock", "settings", "secrets", "handlers", "channels", "claribi",
        "folder", "disk", "database",
    ]  # fmt: skip


def test_a_folder_that_this_user_may_not_look_into(deployment: Deployment) -> None:
    data = deployment.home / "data"
    data.mkdir(mode=0)
    if os.access(data, os.X_OK):
        pytest.skip("root may look everywhere")
    assert "by this user" in findings(deployment, status=1)["folder"]["text"]
    assert deployment.call("doctor", "--crash-test").returncode == 1
    data.chmod(0o700)


# -- the crash test ---------------------------------------------------------------------------


def processes_of(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in command and b"crash-test-" in command:
                found.append(int(entry.name))
    return found


@pytest.mark.chaos
def test_a_crash_test_counts_and_leaves_nothing_behind(deployment: Deployment) -> None:
    """A1 on the user's own disk: accepted = stored = handled; the deployment is not touched."""
    data = deployment.home / "data"
    data.mkdir()
    (data / "clarihook.db").write_bytes(b"not to be touched")
    result = deployment.run("doctor", "--crash-test", "--rounds", "2", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["ok"]
    assert len(found["rounds"]) == 2
    assert found["stored"] == found["handled"] >= found["accepted"] >= 2
    assert found["stored"] - found["accepted"] <= found["unanswered"]
    assert found["lost"] == found["unhandled"] == found["problems"] == []
    for name in ("accept_ms", "fsync_ms"):
        assert 0 < found[name]["p50"] <= found[name]["p99"]
    assert [path.name for path in data.iterdir()] == ["clarihook.db"]
    assert (data / "clarihook.db").read_bytes() == b"not to be touched"
    assert processes_of(data) == []


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_crash_test_that_is_cut_off_cleans_up(deployment: Deployment, number: int) -> None:
    data = deployment.home / "data"
    data.mkdir()
    with deployment.popen("doctor", "--crash-test", "--rounds", "1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("round 1 of 1000: ")
        eventually(lambda: processes_of(data))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(data.iterdir()) == []
    assert processes_of(data) == []


@pytest.mark.chaos
def test_a_crash_test_names_what_is_lost(tmp_path: Path) -> None:
    """The count finds what it is for: a loss, another body, a run that never was."""
    lost = "evt_" + "0" * 32

    async def run(answers: Answers) -> Any:
        with throwaway(tmp_path) as deployment:
            scheme = build_scheme(SchemeSpec(scheme="claribi"), [deployment.secret])
            async with serving(deployment.home) as server:
                await Senders(scheme, answers, clients=2).load(
                    server.port, until=lambda: len(answers.accepted) >= 5
                )
                await _settle(deployment)
                await asyncio.to_thread(server.stop)
            sound = await _count(deployment, answers, (), [1.0])
            changed = min(answers.accepted)
            answers.accepted |= {lost: b"{}", changed: b"{}"}
            ids = (deployment.home / "handled").read_text().split()
            (deployment.home / "handled").write_text("\n".join(ids[1:]))
            return sound, await _count(deployment, answers, (), [1.0]), changed, ids[0]

    sound, broken, changed, forgotten = asyncio.run(run(Answers()))
    assert sound.is_sound
    assert sound.stored == len(sound.answers.accepted) - 1
    assert not broken.is_sound
    assert set(broken.lost) == {lost, changed}
    assert broken.unhandled == (forgotten,)
