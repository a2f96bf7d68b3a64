"""These tests use the process that tests/server starts, and a C compiler."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "server"))

COMPILER = shutil.which("cc")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that stands between a server and the kernel, built for this run."""
    return build("shim", tmp_path_factory)


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that gives a server another wall clock, built for this run."""
    return build("clock", tmp_path_factory)


def build(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a library for LD_PRELOAD."""
    if not sys.platform.startswith("linux"):
        pytest.skip("LD_PRELOAD, and its system calls, are Linux's")
    if COMPILER is None:
        pytest.skip("needs a C compiler; Debian: apt install gcc libc6-dev")
    library = tmp_path_factory.mktemp(name) / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(source)], check=True)
    return library
