"""`clarihook handlers list` and `handlers run`."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

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
def handlers(clarihook: Clarihook) -> Clarihook:
    """`clarihook handlers …`; puts the group into the table of commands if it is not there."""
    code = """
from receiver import cli
cli.COMMANDS.setdefault("handlers", cli.Entry("receiver.cli.handlers:app", "Handlers."))
cli.main()
"""
    return partial(clarihook, "handlers", code=code)


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
        (["report_generated.announce"], "give the event: a file with its body, or --type"),
        (["report_generated.announce", "--type", "x", "--data", "{"], "--data is no JSON:"),
        (["report_generated.announce", "--type", "x", "--data", "[]"], "is no JSON object"),
        (["report_generated.announce", "nowhere.json"], "No such file"),
    ],
)
def test_run_says_what_is_wrong_with_its_arguments(
    handlers: Clarihook, arguments: list[str], text: str
) -> None:
    result = handlers("run", *arguments)
    assert result.returncode == 2
    assert text in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_serve_refuses_a_broken_file_as_it_refuses_wrong_settings(
    home: Path, clarihook: Clarihook
) -> None:
    (home / "handlers/mine.py").write_text("import a_package_that_is_not_there\n")
    result = clarihook("serve", "--home", str(home))
    assert (result.returncode, result.stdout) == (2, "")
    assert f"error: {home / 'handlers/mine.py'} failed to load:" in result.stderr
    assert 'mine.py", line 1, in <module>' in result.stderr
