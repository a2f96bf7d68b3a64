"""Running the real command in an empty working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from live_deployment import call_here

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


@pytest.fixture
def clarihook_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clarihook:
    """As `clarihook`, in this process: a tenth of the time. Not for what runs handlers."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLARIHOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as changed:
            for name, value in (env or {}).items():
                changed.setenv(name, value)
            return call_here(*arguments)

    return run
