"""The command line as a whole: help, version, --home, and every way to end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import receiver
from receiver.cli import COMMANDS, load_command

REPOSITORY = Path(__file__).parents[2]
Clarihook = Callable[..., subprocess.CompletedProcess[str]]

RUN_BOOM = """
import sys
from receiver import cli
from receiver.errors import ClarihookError, ConfigError, UsageError

def boom():
    raise {error}

sys.modules["boom"] = sys.modules["__main__"]
cli.COMMANDS["boom"] = cli.Entry("boom:boom", "Fails.")
cli.main()
"""


def test_version(clarihook: Clarihook) -> None:
    result = clarihook("--version")
    assert (result.returncode, result.stdout) == (0, f"clarihook {receiver.__version__}\n")


def test_help_lists_every_command_with_its_line(clarihook: Clarihook) -> None:
    result = clarihook("--help")
    assert result.returncode == 0
    for name, entry in COMMANDS.items():
        assert f"│ {name} " in result.stdout
        assert entry.help in result.stdout


def test_help_imports_nothing_slow(clarihook: Clarihook) -> None:
    code = (
        "import sys\nfrom receiver import cli\n"
        "try: cli.main()\n"
        "except SystemExit: print('\\n'.join(sys.modules))"
    )
    imported = set(clarihook("--help", code=code).stdout.split())
    slow = {"apprise", "uvicorn", "httpx2", "cel", "jinja2", "receiver.store", "receiver.cli.init"}
    assert "receiver.cli" in imported
    assert not imported & slow


def test_help_says_what_stands_in_brackets_and_fills_its_lines(clarihook_here: Clarihook) -> None:
    """Brackets are no markup, and a line ends where the terminal does, not where the code's did."""
    wide = {"COLUMNS": "300"}
    shown = clarihook_here("rejections", "list", "--help", env=wide).stdout
    assert "[rejections] in the settings says how many are kept" in shown
    assert "[claribi] in the settings" in clarihook_here("claribi", "--help", env=wide).stdout
    shown = clarihook_here("events", "send", "--help", env=wide).stdout
    assert "at a rate or as fast as it goes, and a summary" in shown


def subcommands(command: Any, words: tuple[str, ...]) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [words]
    return [found for name, sub in inner.items() for found in subcommands(sub, (*words, name))]


@pytest.mark.parametrize(
    "words",
    [words for name in COMMANDS for words in subcommands(load_command(name), (name,))],
    ids=" ".join,
)
def test_every_command_takes_home_and_shows_an_example(
    words: tuple[str, ...], clarihook_here: Clarihook
) -> None:
    result = clarihook_here(*words, "--help")
    assert result.returncode == 0, result.stderr
    assert "--home" in result.stdout
    usage, _, rest = result.stdout.partition("Usage:")[2].partition("\n")
    assert f"clarihook {' '.join(words)}" in rest
    assert "[[" not in usage


@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        (["--home", "a", "config", "check"], None, "a"),
        (["config", "check", "--home", "a"], None, "a"),
        (["--home", "b", "config", "check", "--home", "a"], None, "a"),
        (["config", "check"], "a", "a"),
        (["config", "check", "--home", "a"], "b", "a"),
        (["--home", "a", "config", "check"], "b", "a"),
        (["config", "check", "--home", "."], "b", ""),
        (["config", "check"], None, ""),
    ],
)
def test_home_is_taken_before_and_after_the_command(
    arguments: list[str],
    variable: str | None,
    expected: str,
    clarihook_here: Clarihook,
    tmp_path: Path,
) -> None:
    env = {"CLARIHOOK_HOME": variable} if variable else {}
    result = clarihook_here(*arguments, env=env)
    assert f"there is no config/clarihook.toml in {tmp_path / expected};" in result.stderr


@pytest.mark.parametrize("arguments", [["conifg"], ["config", "chekc"]])
def test_a_mistyped_command_gets_a_hint(arguments: list[str], clarihook: Clarihook) -> None:
    result = clarihook(*arguments)
    assert result.returncode == 2
    assert "Did you mean 'c" in result.stderr


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        ("ConfigError('a is wrong')", 2, "error: a is wrong\n"),
        ("ConfigError('a', 'b')", 2, "error: the settings have 2 faults\n  a\n  b\n"),
        ("UsageError('no such event')", 2, "error: no such event\n"),
        ("ClarihookError('it failed')", 1, "error: it failed\n"),
        ("ClarihookError('a\\x1b[2Jb')", 1, "error: a\\x1b[2Jb\n"),
        (
            "OSError(28, 'No space left on device')",
            1,
            "error: what this writes can't be written: No space left on device\n",
        ),
        ("KeyboardInterrupt", 130, ""),
        ("SystemExit(3)", 3, ""),
    ],
)
def test_every_way_to_end(error: str, status: int, text: str, clarihook: Clarihook) -> None:
    result = clarihook("boom", code=RUN_BOOM.format(error=error))
    assert (result.returncode, result.stderr, result.stdout) == (status, text, "")


def test_an_unexpected_error_is_short_and_says_how_to_see_more(clarihook: Clarihook) -> None:
    code = RUN_BOOM.format(error="ZeroDivisionError('by what?')")
    short, long = (clarihook("boom", code=code, env={"CLARIHOOK_DEBUG": d}) for d in ("0", "1"))
    assert short.returncode == long.returncode == 1
    assert short.stderr.startswith("error: ZeroDivisionError: by what?\n")
    assert "CLARIHOOK_DEBUG=1" in short.stderr
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr


def test_a_reader_that_went_away_is_no_error(clarihook: Clarihook, tmp_path: Path) -> None:
    assert clarihook("init").returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "receiver.cli", "config", "show", "--home", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""


@pytest.mark.parametrize(
    "raised",
    [
        "MemoryError()", 'RuntimeError("can\'t start new thread")', 'OSError(12, "no room")',
        'ImportError("x.so: failed to map segment from shared object")',
    ],
)  # fmt: skip
def test_too_little_memory_is_no_bug(clarihook: Clarihook, raised: str) -> None:
    code = f"""
import receiver.cli as cli
def short_of_it(name): raise {raised}
cli.load_command = short_of_it
import sys; sys.argv = ["clarihook", "work"]
cli.main()
"""
    result = clarihook(code=code)
    assert result.returncode == 1
    assert "there is not enough memory for this" in result.stderr
    assert "bug" not in result.stderr
