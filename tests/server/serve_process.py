"""`clarihook serve` as a process of its own, and senders that load it."""

import hashlib
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receiver.store.driver import sqlite3

REPOSITORY = Path(__file__).parents[2]
SECRET = "made-up-secret-for-tests-000001"

HANDLER = """
import os
from pathlib import Path

from receiver import Context, on

HANDLED = Path(__file__).parents[1] / "handled"


@on("load.sent", schedule=["100ms"])
async def note(event: dict, ctx: Context) -> None:
    descriptor = os.open(HANDLED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{ctx.event.id}\\n".encode())
    os.close(descriptor)
    ctx.notify("file", title=ctx.event.id, body="handled")
"""


def write_home(home: Path, *, handlers: str = HANDLER, settings: str = "") -> Path:
    """A deployment with one source, one channel that is a file, and these handlers."""
    (home / "config").mkdir(parents=True)
    (home / "handlers").mkdir()
    (home / "handlers" / "deployed.py").write_text(handlers, "utf-8")
    (home / "config" / "clarihook.toml").write_text(
        f'[sources.claribi]\nscheme = "claribi"\nsecrets = ["{SECRET}"]\n'
        f'[channels.file]\nurls = ["file://messages.jsonl"]\n{settings}',
        "utf-8",
    )
    return home


class Serve:
    """The process. Everything that it says on standard error is in `lines`."""

    says_ready = "clarihook listens on http://"

    def __init__(
        self,
        home: Path,
        *arguments: str,
        program: list[str] | None = None,
        pass_fds: Collection[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to this process's own."""
        self.home = home
        own = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        command = program or [sys.executable, "-m", "receiver.cli", "serve"]
        if "work" not in command:
            arguments = ("--port", "0", *arguments)
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--home", str(home), *arguments],
            cwd=REPOSITORY,
            env={**own, **(environment or {})},
            pass_fds=pass_fds,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.is_ready = False
        self.address: tuple[str, int] | None = None
        self.start_seconds = 0.0
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith(self.says_ready):
                if "http://" in line:
                    host, port = line.split("http://")[1].split("/")[0].split(":")
                    self.address = host, int(port)
                self.is_ready = True
                self.start_seconds = time.monotonic() - self.begun
                self._said.set()
        self._said.set()

    def ready(self) -> "Serve":
        """Wait until it listens, or works."""
        assert self._said.wait(30), "it says nothing"
        assert self.is_ready, "".join(self.lines)
        return self

    def says(self, text: str) -> None:
        """Wait until it has said that."""
        deadline = time.monotonic() + 30
        while text not in self.said:
            assert time.monotonic() < deadline, f"it does not say {text}: {self.said}"
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Its exit status."""
        status = self.process.wait(timeout)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def memory_bytes(self) -> int:
        """What it occupies now, shared libraries included."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def post(
        self, body: bytes, *, source: str = "claribi", timeout: float = 20, at: float | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send one event on a connection of its own, signed at that time, or now."""
        assert self.address is not None
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        try:
            headers = {"X-ClariBI-Signature": sign(body, at=at)}
            connection.request("POST", f"/hooks/{source}", body, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()


@contextmanager
def serving(
    home: Path,
    *arguments: str,
    program: list[str] | None = None,
    pass_fds: Collection[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Serve]:
    """A server that listens, and is gone afterwards whatever happens."""
    serve = Serve(home, *arguments, program=program, pass_fds=pass_fds, environment=environment)
    try:
        yield serve.ready()
    finally:
        if serve.process.poll() is None:
            serve.process.kill()
        serve.wait()


def sign(body: bytes, *, at: float | None = None) -> str:
    now = int(time.time() if at is None else at)
    return f"t={now},v1={hmac.digest(SECRET.encode(), b'%d.' % now + body, hashlib.sha256).hex()}"


def event_body(name: str, kind: str = "load.sent") -> bytes:
    return json.dumps({"event": kind, "data": {"name": name}}).encode()


@dataclass
class Load:
    """Senders that each send one unique event after the other until the server is gone."""

    serve: Serve
    name: str
    clients: int = 8
    enough: int = 1
    accepted: dict[str, bytes] = field(default_factory=dict)
    """The bodies of the acknowledged events, by id."""
    statuses: dict[int, int] = field(default_factory=dict)
    """How many answers of each status."""
    without_wait: int = 0
    """Answers of 503 that don't say when to come back."""
    refused: int = 0
    """Connections that were not taken or ended without an answer."""
    cut: int = 0
    """Requests that were sent whole and never answered."""

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.has_begun = threading.Event()
        """As many events as are `enough` are acknowledged."""
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, number: int) -> None:
        assert self.serve.address is not None
        connection = http.client.HTTPConnection(*self.serve.address, timeout=20)
        count = 0
        while not self._over.is_set():
            count += 1
            body = event_body(f"{self.name}-{number}-{count}")
            is_sent = False
            try:
                headers = {"X-ClariBI-Signature": sign(body)}
                connection.request("POST", "/hooks/claribi", body, headers)
                is_sent = True
                reply = connection.getresponse()
                answer = json.loads(reply.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.cut += is_sent
                    self.refused += not is_sent
                if not is_sent:
                    return  # nobody listens any more
                continue
            with self._lock:
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                self.without_wait += reply.status == 503 and "Retry-After" not in reply.headers
                if reply.status == 202:
                    self.accepted[answer["id"]] = body
                    if len(self.accepted) >= self.enough:
                        self.has_begun.set()
        connection.close()


@contextmanager
def opened(home: Path) -> Iterator["sqlite3.Connection"]:
    """The database of a deployment."""
    connection = sqlite3.connect(home / "data" / "clarihook.db", timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def settle(home: Path, query: str, *, seconds: float = 30) -> None:
    """Wait until the query, which counts what is left to do, says 0."""
    deadline = time.monotonic() + seconds
    with opened(home) as database:
        while (left := database.execute(query).fetchone()[0]) > 0:
            assert time.monotonic() < deadline, f"{left} left of: {query}"
            time.sleep(0.02)


def measured(capsys: Any, text: str) -> None:
    """Print past pytest's capture: figures are a result too."""
    with capsys.disabled():
        print(f"\n    {text}")
