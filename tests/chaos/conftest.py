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
    if not sys.platform.startswith("linux"):
        pytest.skip("LD_PRELOAD, and its system calls, are Linux's")
    if COMPILER is None:
        pytest.skip("needs a C compiler; Debian: apt install gcc libc6-dev")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(source)], check=True)
    return library
