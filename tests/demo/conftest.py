"""Running `clarihook demo` as people do: a process of its own, with an empty folder for temp."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    """Where the demo makes its temporary folder."""
    folder = tmp_path / "temp"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, temp: Path) -> Start:
    """`start("--once")`: the running command, with pipes for its output and errors."""

    def run(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        return subprocess.Popen(
            [sys.executable, "-m", "receiver.cli", "demo", *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temp), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run
