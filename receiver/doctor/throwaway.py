"""A deployment that lives for one crash test, on the disk of the real one, and its server."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from receiver.errors import ClarihookError

EVENT = "crash.test"
SOURCE = "crash"
HANDLED = "handled"
MESSAGES = "messages.jsonl"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LISTENS = "clarihook listens on http://"

_SETTINGS = """\
[server]
host = "127.0.0.1"
port = 0

[log]
level = "error"
format = "json"

[sources.{source}]
scheme = "claribi"
secrets = ["{secret}"]

[channels.file]
urls = ["file://{messages}"]
schedule = ["100ms"]
"""
_HANDLER = """\
import os
from pathlib import Path

from receiver import Context, on

HANDLED = Path(__file__).parents[1] / "{handled}"


@on("{event}", schedule=["100ms"])
async def handle(event: dict, ctx: Context) -> None:
    descriptor = os.open(HANDLED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{{ctx.event.id}}\\n".encode())
    finally:
        os.close(descriptor)
    ctx.notify("file", title=ctx.event.id, body="handled")
"""


class Throwaway:
    """The home; `secret` signs what is sent to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.secret = secrets.token_hex(32)
        for folder in ("config", "handlers"):
            (home / folder).mkdir()
        (home / "config" / "clarihook.toml").write_text(
            _SETTINGS.format(source=SOURCE, secret=self.secret, messages=MESSAGES), "utf-8"
        )
        (home / "handlers" / "crash.py").write_text(
            _HANDLER.format(handled=HANDLED, event=EVENT), "utf-8"
        )

    @property
    def database(self) -> Path:
        """The file that its server keeps everything in."""
        return self.home / "data" / "clarihook.db"


@contextmanager
def throwaway(folder: Path) -> Iterator[Throwaway]:
    """A throwaway home inside the folder, removed afterwards whatever happens.

    Raises ClarihookError if the folder can't be written to.
    """
    try:
        home = Path(tempfile.mkdtemp(prefix="crash-test-", dir=folder))
    except OSError as error:
        raise ClarihookError(
            f"{folder}: no folder can be made in it: {error.strerror}. Run this as the user that "
            "serves, or make that folder."
        ) from None
    try:
        yield Throwaway(home)
    finally:
        shutil.rmtree(home)


class ThrowawayServer:
    """`clarihook serve` in a process of its own."""

    def __init__(self, home: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLARIHOOK_")}
        self._begun = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "receiver.cli", "serve", "--home", str(home)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for us: we end it.
            start_new_session=True,
        )
        self._said: list[str] = []
        self._is_told = threading.Event()
        self.port = 0
        self.start_seconds = 0.0
        self._reader = threading.Thread(target=self._read, name="server-says", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None, "it is a pipe"
        for line in self._process.stderr:
            if line.startswith(_LISTENS):
                self.port = int(line.removeprefix(_LISTENS).split("/")[0].rpartition(":")[2])
                self.start_seconds = time.monotonic() - self._begun
                self._is_told.set()
            else:
                self._said.append(line)
        self._is_told.set()

    def wait_until_ready(self) -> None:
        """Return once it accepts. Raises ClarihookError with its words if it does not."""
        if not self._is_told.wait(_START_SECONDS) or not self.port:
            words = "".join(self._said).strip() or "it says nothing"
            raise ClarihookError(f"the throwaway server does not start: {words}")

    def kill(self) -> None:
        """End it as a crash does; harmless when it has ended."""
        self._process.kill()
        self._close()

    def stop(self) -> int:
        """Stop it in order; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ClarihookError("the throwaway server does not stop") from None
        finally:
            self.kill()

    def _close(self) -> None:
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None, "it is a pipe"
        self._process.stderr.close()


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[ThrowawayServer]:
    """A server that accepts, and is gone afterwards whatever happens."""
    server = ThrowawayServer(home)
    try:
        await asyncio.to_thread(server.wait_until_ready)
        yield server
    finally:
        server.kill()
