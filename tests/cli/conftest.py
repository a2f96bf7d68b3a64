"""Running the real command in a process of its own, in an empty working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Clarihook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def clarihook(tmp_path: Path) -> Clarihook:
    """`clarihook("config", "check", env={…})`: its status, output and errors."""

    def run(
        *arguments: str, env: dict[str, str] | None = None, code: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        environment = {**inherited, "PYTHONPATH": f"{REPOSITORY}", "COLUMNS": "120", **(env or {})}
        program = ["-c", code] if code else ["-m", "receiver.cli"]
        return subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
