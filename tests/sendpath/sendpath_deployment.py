"""A deployment whose services are the endpoints, and the commands that look at it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from serve_process import REPOSITORY, opened
from service_server import ServiceServer, redirecting_code


def environment(server: ServiceServer, folder: Path, *, more: str = "") -> dict[str, str]:
    """For processes in which the services' names lead to the endpoints; `more` is run at start."""
    hook = folder / "site"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(redirecting_code(server.tls_port) + more, "utf-8")
    return {"PYTHONPATH": f"{hook}:{REPOSITORY}", "REQUESTS_CA_BUNDLE": str(server.ca_file)}


def commands(
    home: Path, each: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> list[tuple[int, str]]:
    """The exit status and all output of every command, which run side by side."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "receiver.cli", *words, "--home", str(home)],
            env={**own, "COLUMNS": "200", **environment},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for words in each
    ]
    ended = []
    for process in running:
        output, _ = process.communicate(timeout=90)
        ended.append((process.returncode, output))
    return ended


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def count(home: Path, query: str) -> int:
    """The one number that the query gives."""
    with opened(home) as database:
        return int(database.execute(query).fetchone()[0])
