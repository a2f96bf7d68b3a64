"""`clarihook handlers list` and `handlers run`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from live_deployment import Deployment

Clarihook = Callable[..., subprocess.CompletedProcess[str]]

SHIPPED = Path(__file__).parents[2] / "handlers"
TEXT = """\
[handlers]
disabled = ["goal_milestone_reached.celebrate"]

[channels.ops]
urls = ["file://data/messages.jsonl"]
"""
FAILING = """\
from receiver import on

@on("x", attempts=3, timeout="5s", key="data.id")
def fail(event):
    raise RuntimeError("no luck")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/clarihook.toml").write_text(TEXT)
    shutil.copytree(SHIPPED, tmp_path / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def handlers(clarihook_here: Clarihook) -> Clarihook:
    """`clarihook handlers …`, in this process."""
    return partial(clarihook_here, "handlers")


@pytest.mark.usefixtures("home")
def test_list_shows_every_handler_with_its_place(handlers: Clarihook) -> None:
    result = handlers("list")
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = [row for row in result.stdout.splitlines() if row.startswith("report_generated")]
    assert line.split() == [
        "report_generated.announce", "report.generated", "8", "30", "s",
        "handlers/report_generated.py:18",
    ]  # fmt: skip
    assert "disabled" in result.stdout
    assert len(result.stdout.splitlines()) == 6


def test_list_as_json_has_what_is_in_force(home: Path, handlers: Clarihook) -> None:
    (home / "handlers/mine.py").write_text(FAILING)
    result = handlers("list", "--json")
    handlers = {row["name"]: row for row in json.loads(result.stdout)["handlers"]}
    mine = handlers["mine.fail"]
    assert (mine["attempts"], mine["timeout_seconds"], mine["key"]) == (3, 5, "data.id")
    assert (mine["file"], mine["line"], mine["patterns"]) == ("handlers/mine.py", 3, ["x"])
    assert handlers["goal_milestone_reached.celebrate"]["enabled"] is False


def test_list_ends_with_1_when_a_file_is_broken(home: Path, handlers: Clarihook) -> None:
    (home / "handlers/bad.py").write_text("import nothing_like_this\n")
    plain, as_json = handlers("list"), handlers("list", "--json")
    assert (plain.returncode, as_json.returncode) == (1, 1)
    assert "No module named 'nothing_like_this'" in plain.stderr
    assert "report_generated.announce" in plain.stdout
    (problem,) = json.loads(as_json.stdout)["problems"]
    assert problem["file"].endswith("handlers/bad.py")


@pytest.mark.usefixtures("home")
def test_run_shows_what_the_handler_would_say(handlers: Clarihook) -> None:
    result = handlers(
        "run", "data_source_sync_completed.watch_syncs",
        "--type", "data_source.sync_completed", "--store", '{"durations/1": [2, 2, 2]}', "--data",
        '{"data_source_id": 1, "data_source_name": "Shop", "records_synced": 0,'
        ' "duration_seconds": 9}',
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "succeeded"
    assert lines[1].startswith("message   to ops, warning: Shop: the sync brought 0 records and")
    assert lines[-1] == "store     durations/1 = [2, 2, 2, 9.0]"


def test_run_takes_a_body_and_answers_of_the_api(home: Path, handlers: Clarihook) -> None:
    (home / "event.json").write_text('{"event": "report.generated", "data": {"report_id": 15}}')
    report = {"id": 15, "name": "Monthly", "status": "published", "created_by": {"id": 1}}
    (home / "api.json").write_text(json.dumps({"GET reports/15/": [200, report]}))
    command = ("run", "report_generated.announce", "event.json", "--json")
    result = handlers(*command, "--answers", "api.json")
    shown = json.loads(result.stdout)
    assert (result.returncode, shown["outcome"]) == (0, "succeeded")
    assert shown["api_calls"] == ["GET reports/15/"]
    assert shown["messages"][0]["title"] == "Report ready: Monthly"
    assert not (home / "data").exists()


def test_run_of_a_failing_handler_shows_its_line(home: Path, handlers: Clarihook) -> None:
    (home / "handlers/mine.py").write_text(FAILING)
    result = handlers("run", "mine.fail", "--type", "x")
    assert result.returncode == 1
    assert result.stdout == "failed: RuntimeError: no luck\n"
    assert 'handlers/mine.py", line 5, in fail' in result.stderr
    assert "receiver/testing" not in result.stderr


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["report_generated.anounce", "--type", "x"], "did you mean 'report_generated.announce'?"),
        (["report_generated.announce"], "give the event: its id, a file with its body, or --type"),
        (["report_generated.announce", "--type", "x", "--data", "{"], "--data is no JSON:"),
        (["report_generated.announce", "--type", "x", "--data", "[]"], "is no JSON object"),
        (["report_generated.announce", "nowhere.json"], "nowhere.json can't be read: No such file"),
        (["report_generated.announce", "evt_01"], "no database here yet"),
    ],
)
def test_run_says_what_is_wrong_with_its_arguments(
    handlers: Clarihook, arguments: list[str], text: str
) -> None:
    result = handlers("run", *arguments)
    assert result.returncode == 2
    assert text in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_run_takes_a_stored_event(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    try:
        (event_id,) = deployment.send("loud.a")
    finally:
        deployment.stop()
    result = deployment.run("handlers", "run", "mine.tell", event_id[:20], "--json")
    (message,) = json.loads(result.stdout)["messages"]
    assert (message["title"], message["body"]) == ("Heard", f"of {event_id}")
    piped = subprocess.run(
        [sys.executable, "-m", "receiver.cli", "handlers", "run", "mine.tell", "-"],
        input='{"event": "loud.b", "data": {}}', cwd=deployment.home, capture_output=True,
        text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(SHIPPED.parent)},
    )  # fmt: skip
    assert "message   to ops, info: Heard" in piped.stdout, piped.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["../x", "--type", "a"], "'../x' can't be a handler file's name: use a to z"),
        (["_shared", "--type", "a"], "'_shared' can't be"),
        (["class", "--type", "a"], "'class' can't be"),
        (["Big", "--type", "a"], "'Big' can't be"),
        (["x" * 65, "--type", "a"], "can't be a handler file's name"),
        (["report_generated", "--type", "a"], "report_generated.py exists; choose another name"),
        (["tested", "--type", "a"], "test_tested.py exists; choose another name"),
        (["fine", "--type", "a b"], "--type: 'a b' is no event type pattern"),
        (["fine"], "Missing option '--type'"),
    ],
)
def test_new_overwrites_nothing_and_wants_a_plain_name(
    home: Path, handlers: Clarihook, arguments: list[str], text: str
) -> None:
    (home / "tests").mkdir()
    (home / "tests/test_tested.py").write_text("# mine")
    before = {path: path.read_bytes() for path in home.rglob("*.py")}
    result = handlers("new", *arguments)
    assert result.returncode == 2
    assert text in " ".join(result.stderr.split())
    assert before == {path: path.read_bytes() for path in home.rglob("*.py")}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("event_type", ["data_source.sync_completed", "shop.*"])
def test_what_new_tells_to_try_succeeds(
    handlers: Clarihook, clarihook: Clarihook, event_type: str
) -> None:
    said = handlers("new", "fresh", "--type", event_type).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("try it:")]
    tried = clarihook(*shlex.split(line.removeprefix("try it:"))[1:])
    assert (tried.returncode, tried.stdout.splitlines()[0]) == (0, "succeeded"), tried.stderr


def test_new_asks_about_a_mistyped_type_and_takes_the_first_channel(
    home: Path, handlers: Clarihook
) -> None:
    result = handlers("new", "mine", "--type", "report.generatd", "--json")
    assert "clariBI sends no report.generatd; did you mean report.generated?" in result.stderr
    made = json.loads(result.stdout)
    assert made["handler"] == "mine.handle"
    assert 'CHANNEL = "ops"' in Path(made["file"]).read_text()
    assert Path(made["test"]) == home / "tests/test_mine.py"


def test_serve_refuses_a_broken_file_as_it_refuses_wrong_settings(
    home: Path, clarihook: Clarihook
) -> None:
    (home / "handlers/mine.py").write_text("import a_package_that_is_not_there\n")
    result = clarihook("serve", "--home", str(home))
    assert (result.returncode, result.stdout) == (2, "")
    assert f"error: {home / 'handlers/mine.py'} failed to load:" in result.stderr
    assert 'mine.py", line 1, in <module>' in result.stderr
