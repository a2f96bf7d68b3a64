"""The pytest plugin in projects of other people: in processes of their own, warnings as errors."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from receiver.pytest_plugin.deployed import find_home

REPOSITORY = Path(__file__).parents[1]
PLUGIN = "receiver.pytest_plugin"

HANDLERS = """
from receiver import Reject, Retry, on

@on("good.*")
async def tell(event, ctx):
    await ctx.store.set("seen", event["data"]["n"])
    ctx.notify("ops", title=f"n is {event['data']['n']}")

@on("bad.*")
def refuse(event):
    raise Reject("never")

@on("later.*")
def wait(event):
    raise Retry("not yet", after="1h")

@on("hang.*")
async def hang(event, ctx):
    import asyncio
    await asyncio.sleep(3600)

@on("api.*")
async def ask(event, ctx):
    usage = await ctx.claribi.billing.usage()
    ctx.notify("ops", title=f"{usage.ai_credits.remaining} left")
"""
SETTINGS = """
[store]
url = "env:A_VARIABLE_THAT_NOBODY_SETS"
[sources.claribi]
scheme = "claribi"
secrets = ["env:A_VARIABLE_THAT_NOBODY_SETS"]
[sources.hub]
scheme = "github"
secrets = ["env:A_VARIABLE_THAT_NOBODY_SETS"]
[sources.svix]
scheme = "standard"
secrets = ["env:A_VARIABLE_THAT_NOBODY_SETS"]
[channels.ops]
urls = ["env:A_VARIABLE_THAT_NOBODY_SETS", "env:ANOTHER_VARIABLE"]
rate = "1/h"
[[routes]]
match = "routed.*"
notify = ["ops"]
title = "By a route"
"""


def project(folder: Path, test: str, *, settings: str | None = SETTINGS) -> Path:
    """A deployment with tests of its own."""
    for name in ("handlers", "config", "tests"):
        (folder / name).mkdir()
    (folder / "handlers/mine.py").write_text(HANDLERS)
    if settings is not None:
        (folder / "config/clarihook.toml").write_text(settings)
    (folder / "tests/test_mine.py").write_text(test)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in that folder, with our plugin alone."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("CLARIHOOK_", "PYTEST"))}
    command = ["-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", PLUGIN, *arguments]
    return subprocess.run(
        [sys.executable, "-B", *command],
        cwd=folder,
        env={
            **inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def passes(folder: Path, count: int, *arguments: str) -> None:
    result = run(folder, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{count} passed" in result.stdout


def test_the_entry_point_names_it() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (name,) = settings["project"]["entry-points"]["pytest11"].values()
    assert hasattr(import_module(name), "send_event")


def test_a_project_that_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    """Nothing is imported but the plugin's own file: not our packages, nor what they need."""
    (tmp_path / "test_it.py").write_text("""
import sys

def test_nothing_came_with_the_plugin():
    slow = ("receiver.", "claribi", "pydantic", "httpx2", "uvicorn", "starlette", "structlog")
    found = {name for name in sys.modules if name.startswith(slow)}
    assert found == {"receiver.pytest_plugin"}
""")
    passes(tmp_path, 1)


def test_the_fixtures_serve_the_deployment(tmp_path: Path) -> None:
    test = """
import pytest
from receiver.errors import UsageError

def test_a_handler(send_event, clarihook):
    sent = send_event("good.news", {"n": 7})
    assert sent.states == {"mine.tell": "succeeded", "ops/1-file": "succeeded"}
    assert [message.title for message in sent.messages] == ["n is 7"]
    assert clarihook.value("mine.tell", "seen") == 7
    assert sent.event.json["data"] == {"n": 7}

def test_each_test_has_a_fresh_one(clarihook):
    assert clarihook.value("mine.tell", "seen") is None

def test_what_fails(send_event):
    dead = send_event("bad.news")
    assert dead.states == {"mine.refuse": "dead"}
    assert dead.errors == {"mine.refuse": "Reject: never"}
    assert send_event("later.news").states == {"mine.wait": "retrying"}

def test_what_takes_too_long(send_event):
    with pytest.raises(AssertionError, match="mine.hang is running"):
        send_event("hang.on", timeout_seconds=0.3)

def test_the_api(send_event, claribi_sandbox):
    claribi_sandbox.sandbox.set_credits(77)
    assert send_event("api.asked").messages[0].title == "77 left"

def test_the_api_is_as_new(send_event):
    assert send_event("api.asked").messages[0].title == "1347 left"

@pytest.mark.parametrize("source", ["claribi", "hub", "svix"])
def test_every_source(send_event, source):
    assert send_event("good.news", {"n": 1}, source=source).event.source == source

def test_a_source_that_is_not_there(send_event):
    with pytest.raises(UsageError, match="no source 'gone'; there are: claribi, hub, svix"):
        send_event("good.news", source="gone")

def test_a_route(send_event):
    assert send_event("routed.news").messages[0].title == "By a route"

async def ask(clarihook):
    return clarihook.send("good.news", {"n": 1})

def test_from_a_coroutine(clarihook):
    import asyncio
    assert asyncio.run(ask(clarihook)).messages
"""
    passes(project(tmp_path, test), 12)
    assert not (tmp_path / "data").exists(), "the deployment's own database is not touched"


def test_a_folder_of_handlers_is_enough_and_the_marker_says_otherwise(tmp_path: Path) -> None:
    test = """
import pytest

def test_plain(send_event):
    assert send_event("good.news", {"n": 1}).states["mine.tell"] == "succeeded"

@pytest.mark.clarihook(channels=["finance"])
def test_channels(send_event):
    sent = send_event("good.news", {"n": 1})
    assert sent.states == {"mine.tell": "retrying"}
    assert "no channel 'ops'; there are: finance" in sent.errors["mine.tell"]

@pytest.mark.clarihook(handlers=["other.py"])
def test_handlers(send_event):
    assert send_event("good.news", {"n": 1}).deliveries == []
"""
    folder = project(tmp_path, test, settings=None)
    (folder / "other.py").write_text("")
    passes(folder, 3, "--strict-markers", "tests")


def test_a_broken_handler_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    folder = project(tmp_path, "def test_it(clarihook): pass")
    (folder / "handlers/broken.py").write_text("import a_module_that_is_not_there\n")
    result = run(folder)
    assert result.returncode == 1
    assert "broken.py failed to load" in result.stdout


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["config", "tests"], ""),
        (["tests", "handlers"], ""),
        (["tests/handlers"], "root"),
        (["tests/handlers", "handlers"], ""),
    ],
)
def test_the_home_is_the_nearest_above_the_test(
    tmp_path: Path, folders: list[str], expected: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    if "config" in folders:
        (tmp_path / "config/clarihook.toml").touch()
    found = find_home(tmp_path / "tests/handlers/test_it.py", tmp_path / "root")
    assert found == tmp_path / expected


def test_what_handlers_new_writes_passes(tmp_path: Path) -> None:
    """As typed by somebody who begins: in a fresh deployment, every kind of type."""
    command = [sys.executable, "-m", "receiver.cli"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def clarihook(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, check=False,
                              capture_output=True, text=True, timeout=60)  # fmt: skip

    assert clarihook("init").returncode == 0
    for name, types in {
        "one_known": ["data_source.sync_failed"],
        "several_known": ["data_source.*", "report.generated"],
        "all_there_are": ["*"],
        "others": ["order.paid", "order.*"],
        "mixed": ["order.paid", "billing.*"],
    }.items():
        options = [word for each in types for word in ("--type", each)]
        made = clarihook("handlers", "new", name, *options)
        assert (made.returncode, made.stderr) == (0, ""), made.stderr
    listed = clarihook("handlers", "list")
    assert listed.returncode == 0, listed.stderr
    assert "several_known.handle" in listed.stdout
    tried = clarihook("handlers", "run", "others.handle", "--type", "order.paid", "--data", "{}")
    assert "message   to ops, info: order.paid came" in tried.stdout
    passes(tmp_path, 10)
    passes(tmp_path, 2, "tests/test_others.py")
