"""`clarihook templates`: what is committed under docs/ is what the command makes today."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from receiver.cli.templates import app

MESSAGES = Path(__file__).parents[2] / "docs/messages"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config/templates").mkdir(parents=True)
    (tmp_path / "config/clarihook.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_rendered_messages_in_the_docs_are_those_of_today(
    home: Path,
) -> None:
    done = CliRunner().invoke(app, ["render", "--to", "out"])
    assert done.exit_code == 0, done.output
    made = {file.name: file.read_text() for file in (home / "out").iterdir()}
    kept = {
        file.name: file.read_text()
        for file in MESSAGES.iterdir()
        if file.suffix in (".txt", ".md", ".html")
    }
    assert made == kept, "run: clarihook templates render --to docs/messages"


def test_a_template_that_fails_ends_with_1(home: Path) -> None:
    (home / "config/templates/x.txt").write_text("{{ data.gone.deep }}")
    done = CliRunner().invoke(app, ["render", "x"])
    assert done.exit_code == 1
    assert "template x.txt:1: " in done.output
