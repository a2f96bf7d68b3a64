"""The client type-checks for its users, strictly, with both faces."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_client_example_passes_mypy(tmp_path: Path) -> None:
    """Its `type: ignore` lines are checked too: each must be needed."""
    pytest.importorskip("mypy", reason="comes with the dev extra")
    example = HERE / "client_example.py"
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, example],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
