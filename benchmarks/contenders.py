"""The servers that benchmarks compare: how each is started, and what it has done by now."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from load import EVENT, SECRET

HERE = Path(__file__).parent
BARE = "bare Starlette"

Commands = list[list[str]]
"""A server's command, with `{port}` in it, then those of its helpers."""

NOTHING = f"""
from receiver import Context, on
from receiver.events import SyncCompleted


@on("{EVENT}")
async def nothing(event: SyncCompleted, ctx: Context) -> None:
    pass
"""
"""A handler that does nothing, for a file `nothing.py`."""
NOTHING_NAME = "nothing.nothing"


@dataclass(frozen=True)
class Contender:
    """A server that takes part."""

    name: str
    start: Callable[[Path], Commands]
    """Prepares its folder; returns the commands that start it."""
    done: Callable[[Path, int], int] | None = None
    """`(folder, accepted)`: how many events are handled by now, and recorded to be."""


@dataclass(frozen=True)
class Running:
    """A contender that has been started."""

    url: str
    pid: int
    ready_seconds: float
    """From its start until it answered."""

    def resident_mb(self) -> float:
        """The server process's memory."""
        return resident_mb(self.pid)

    def cpu_seconds(self) -> float:
        """What the server process has computed so far: what else the machine does, changes it
        far less than it changes a rate."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module; those of `benchmarks/servers` can be named too."""
    return [sys.executable, "-m", module, *arguments]


def clarihook(handler: str = NOTHING, settings: str = "") -> Callable[[Path], Commands]:
    """`clarihook serve` as it comes, with this handler file."""

    def start(home: Path) -> Commands:
        (home / "config").mkdir(exist_ok=True)
        (home / "handlers").mkdir(exist_ok=True)
        source = f'[sources.claribi]\nscheme = "claribi"\nsecrets = ["{SECRET}"]\n'
        (home / "config" / "clarihook.toml").write_text(source + settings, "utf-8")
        (home / "handlers" / "nothing.py").write_text(handler, "utf-8")
        return [python("receiver.cli", "serve", "--home", str(home), "--port", "{port}")]

    return start


def uvicorn(module: str, helpers: Sequence[list[str]] = ()) -> Callable[[Path], Commands]:
    """An app of `benchmarks/servers` under uvicorn, with the loop and parser that we use too."""

    def start(_home: Path) -> Commands:
        return [python("uvicorn", f"{module}:app", "--port", "{port}", "--no-access-log",
                       "--log-level", "warning"), *helpers]  # fmt: skip

    return start


def handled_by_clarihook(home: Path, _accepted: int) -> int:
    """Deliveries that have succeeded, told by their attempts: those that wait cost no look."""
    return count(home / "data" / "clarihook.db",
                 "SELECT count(*) FROM attempts WHERE outcome = 'delivered'")  # fmt: skip


def count(database: Path, query: str) -> int:
    """The one number that a query gives, on a connection that can't write."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


def resident_mb(pid: int) -> float:
    """A process's memory, as the kernel counts it (VmRSS); 0 if it has just ended."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS:" in status else 0.0


@contextmanager
def running(contender: Contender, home: Path) -> Iterator[Running]:
    """Start the contender in a folder of its own; end it afterwards."""
    port = _free_port()
    environment = os.environ | {"BENCH_SECRET": SECRET, "BENCH_HOME": str(home),
                                "PYTHONPATH": str(HERE / "servers")}  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []
    with Path(home, "log").open("wb") as log:
        try:
            begun = time.monotonic()
            for command in contender.start(home):
                filled_in = [part.format(port=port) for part in command]
                processes.append(
                    subprocess.Popen(filled_in, env=environment, stdout=log, stderr=log)
                )
            server = processes[0]
            if not _answers(f"http://127.0.0.1:{port}/", server):
                raise SystemExit(f"{contender.name} did not start: {(home / 'log').read_text()}")
            ready_seconds = time.monotonic() - begun
            yield Running(f"http://127.0.0.1:{port}/hooks/claribi", server.pid, ready_seconds)
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether it does, within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx2.get(url, timeout=10)
        except httpx2.TransportError:
            time.sleep(0.02)
        else:
            return True
    return False
