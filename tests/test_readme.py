"""README.md and the pages beside it say what there is: commands, links, states, versions."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from receiver.cli import COMMANDS, load_command
from receiver.registry import load_handlers
from receiver.testing import run_handler

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
PAGES = ["README.md", "CHANGELOG.md", "docs/README.md", "docs/security.md", "docs/development.md"]


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len(README.splitlines()) <= 150


def test_one_command_line_sets_up_the_demo_and_one_the_tests() -> None:
    demo, tests = blocks(README, "sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("clarihook demo --once")
    assert tests.rstrip().endswith("pytest")


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    script = (REPOSITORY / ".ci/run").read_text()
    assert blocks(README, "sh")[1] in script.splitlines(keepends=True)
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script
    assert (REPOSITORY / ".ci/run").stat().st_mode & 0o111 == 0o111


def test_the_first_handler_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/first.py").write_text(blocks(README, "python")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("handlers", "handlers.first"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    handler = load_handlers([tmp_path / "handlers"]).get("first.alert")
    assert handler is not None
    done = run_handler(
        handler,
        "data_source.sync_failed",
        data={"data_source_id": 5, "error": "Connection refused"},
        claribi={
            "GET data-sources/5/": {
                "id": 5, "name": "Shop", "type": "database", "engine": "mysql",
                "status": "error", "last_synced_at": "2025-07-11T02:00:00Z",
            }
        },
    )  # fmt: skip
    assert done.outcome == "succeeded", done.error
    assert done.messages[0].title == "Shop failed to sync"
    assert done.messages[0].body.startswith("Connection refused. Last good sync: 2025-07-11")


def test_the_settings_shown_are_toml() -> None:
    for block in blocks(README, "toml"):
        assert tomllib.loads(block)


def spoken_of(text: str) -> set[tuple[str, str]]:
    """`clarihook NAME` or `clarihook NAME SUBCOMMAND`, in code, as (NAME, what follows)."""
    code = "\n".join([*blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", text)])
    return set(re.findall(r"(?:^|[ /])clarihook ([a-z]+)(?: ([a-z]+))?", code, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_spoken_of_exists(page: str) -> None:
    for name, word in spoken_of((REPOSITORY / page).read_text()):
        assert name in COMMANDS
        inner = getattr(load_command(name), "commands", None)
        if inner is not None and word:
            assert word in inner, f"clarihook {name} {word}"


def test_the_readme_or_the_changelog_names_every_command() -> None:
    text = README + (REPOSITORY / "CHANGELOG.md").read_text()
    assert not {name for name in COMMANDS if f"`{name}`" not in text}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (REPOSITORY / page).read_text()):
        assert target.startswith("https://") or (folder / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs/README.md").read_text()
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_the_floors_of_the_security_page_are_those_of_the_project() -> None:
    text = (REPOSITORY / "docs/security.md").read_text()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    floors = re.findall(r"^\| ([a-z0-9-]+) \| ([0-9.]+) \|", text, re.MULTILINE)
    assert len(floors) >= 6
    for package, floor in floors:
        pattern = re.compile(rf"{package}>={re.escape(floor)}(?![0-9.])")
        assert any(pattern.match(each) for each in project["dependencies"]), package


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_of_the_image_follows_the_answer(status: int) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    check = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check is not None
    program, *arguments = json.loads(check[1])
    assert program == "python"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        environ = {**os.environ, "CLARIHOOK_SERVER__PORT": str(server.server_port)}
        done = subprocess.run(
            [sys.executable, *arguments], env=environ, capture_output=True, check=False
        )
        server.shutdown()
        thread.join()
    assert (done.returncode == 0) == (status == 200)
