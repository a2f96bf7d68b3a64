"""The handler author's API type-checks, strictly, and refuses what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_example_passes_mypy(tmp_path: Path) -> None:
    """Its `type: ignore` lines are checked too: each must be needed."""
    pytest.importorskip("mypy", reason="comes with the dev extra")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            tmp_path,
            HERE / "handler_example.py",
        ],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
