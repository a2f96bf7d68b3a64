"""docs/commands.md tells the truth: every command is there, and every example can be parsed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.cli import COMMANDS, load_command

TEXT = (Path(__file__).parents[1] / "docs/commands.md").read_text()
EXAMPLES = sorted(
    {
        line.removeprefix("$ ").partition(" | ")[0]
        for line in re.findall(r"^\$ (clarihook .+)$", TEXT, re.MULTILINE)
    }
    | {found for found in re.findall(r"`(clarihook [a-z][^`]*)`", TEXT) if "…" not in found}
)


def leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words
        return
    for name, each in inner.items():
        yield from leaves(each, (*words, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name: str) -> None:
    if name == "claribi":  # has a page of its own
        assert "`clarihook claribi`" in TEXT
        return
    for words in leaves(load_command(name), (name,)):
        assert f"clarihook {' '.join(words)}" in TEXT


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_names_commands_and_options_that_exist(example: str) -> None:
    _, *words = shlex.split(example)
    if words == ["COMMAND", "--help"]:
        return
    command = load_command(words.pop(0))
    inner = getattr(command, "commands", {})
    while inner and words and words[0] in inner:
        command = inner[words.pop(0)]
        inner = getattr(command, "commands", {})
    if "run" in inner:  # `replay …` is short for `replay run …`
        command = inner["run"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
