"""A deployment in a folder, with a real server that a test may start, stop and kill."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from receiver.cli import main

REPOSITORY = Path(__file__).parents[2]

CONFIG = """\
[sources.claribi]
scheme = "claribi"
secrets = ["a made-up secret for tests"]

[channels.ops]
urls = ["file://data/messages.jsonl"]
"""

HANDLERS = """\
import asyncio
from pathlib import Path

from receiver import Reject, on

HOME = Path(__file__).parents[1]


@on("good.*")
async def keep(event, ctx):
    with (HOME / "handled").open("a") as file:
        file.write(f"{ctx.event.id} {'replay' if ctx.replaying else 'live'}\\n")


@on("loud.*")
async def tell(event, ctx):
    ctx.notify("ops", title="Heard", body=f"of {ctx.event.id}")


@on("bad.*")
async def fail(event, ctx):
    if not (HOME / "mended").exists():
        raise Reject("no \\x1b[31mluck")


@on("slow.*", concurrency=4)
async def wait(event, ctx):
    with (HOME / "started").open("a") as file:
        file.write(f"{ctx.event.id}\\n")
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
    with (HOME / "handled").open("a") as file:
        file.write(f"{ctx.event.id}\\n")
"""


def call_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in this process: what it says, and how it ends."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "12")
    status: Any = 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["clarihook", *arguments]),
        patch.object(sys, "stdin", io.StringIO()),
        patch("receiver.cli._leave"),  # this process has daemon threads, and goes on
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *texts)


class Deployment:
    """A home, the command in it, and at most one server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._server: subprocess.Popen[str] | None = None
        self.origin = ""
        (home / "config").mkdir(parents=True)
        (home / "handlers").mkdir()
        (home / "config/clarihook.toml").write_text(CONFIG)
        (home / "handlers/mine.py").write_text(HANDLERS)

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The command, started."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        return subprocess.Popen(
            [sys.executable, "-m", "receiver.cli", *arguments],
            cwd=self.home,
            env={**inherited, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, to its end."""
        with self.popen(*arguments) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `run`, in this process: a tenth of the time. Not beside another one, in a thread."""
        return call_here(*arguments, "--home", str(self.home))

    def json(self, *arguments: str) -> Any:
        """What the command prints with --json."""
        result = self.call(*arguments, "--json")
        assert result.stdout, result.stderr
        return json.loads(result.stdout)

    def serve(self, *options: str) -> None:
        """Start the server; returns once it accepts."""
        server = self.popen("serve", "--port", "0", *options)
        assert server.stderr is not None, "it is a pipe"
        self._server = server
        for line in server.stderr:
            if found := re.search(r"listens on (http://\S+?)/hooks/", line):
                self.origin = found[1]
                threading.Thread(target=server.stderr.read, daemon=True).start()
                return
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        """Stop the server in order, if there is one."""
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=30)
            self._server = None

    def kill(self) -> None:
        """End the server as a power cut would."""
        assert self._server is not None, "serve() first"
        self._server.kill()
        self._server.communicate(timeout=30)
        self._server = None

    def send(self, event_type: str, *options: str) -> list[str]:
        """Send signed events to the server; their ids."""
        url = f"{self.origin}/hooks/claribi"
        sent = self.json("events", "send", event_type, "--url", url, *options)["sent"]
        assert {result["status"] for result in sent} == {202}
        return [result["answer"]["id"] for result in sent]

    def lines(self, name: str) -> Sequence[str]:
        """The lines of a file in the home."""
        path = self.home / name
        return path.read_text().splitlines() if path.exists() else []


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `holds` returns once it is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found
