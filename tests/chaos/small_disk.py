"""A small file system that only a server and its commands see: a tmpfs in a mount namespace."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FILLER = "filler"

_OPEN = """
import json, sys
from receiver.store.driver import sqlite3
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=30)
"""
_QUERY = _OPEN + "print(json.dumps(database.execute(sys.argv[2]).fetchall()))"
_READ_ON = (
    _OPEN
    + """
database.execute("BEGIN")
database.execute("SELECT count(*) FROM events").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""
)


def require_namespaces() -> None:
    """Skip where a process may not have its own mounts."""
    tools = [shutil.which(each) for each in ("unshare", "nsenter", "mount")]
    if not sys.platform.startswith("linux") or None in tools:
        pytest.skip("needs Linux with unshare, nsenter and mount")
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"mount namespaces are not allowed here: {tried.stderr.strip()}")


@dataclass
class SmallDisk:
    """`home/data` of a deployment on a disk of its own."""

    home: Path
    holder: subprocess.Popen[str]

    @property
    def seen(self) -> Path:
        """The deployment as the processes in the namespace see it."""
        return Path(f"/proc/{self.holder.pid}/root{self.home}")

    def enter(self, *command: str) -> list[str]:
        """The command, to be run in the namespace."""
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", *command]

    def query(self, sql: str) -> list[list[Any]]:
        """Read the database from within: SQLite would not follow /proc into another namespace."""
        database = str(self.home / "data" / "clarihook.db")
        program = self.enter(sys.executable, "-c", _QUERY, database, sql)
        rows: list[list[Any]] = json.loads(
            subprocess.run(program, check=True, capture_output=True, text=True).stdout
        )
        return rows

    @contextmanager
    def read_transaction(self) -> Iterator[None]:
        """A program that reads all the while."""
        database = str(self.home / "data" / "clarihook.db")
        program = self.enter(sys.executable, "-c", _READ_ON, database)
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            yield
            reader.stdin.close()

    @property
    def free_bytes(self) -> int:
        disk = os.statvfs(self.seen / "data")
        return disk.f_bavail * disk.f_frsize

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all that is left, as another program would."""
        with (self.seen / "data" / FILLER).open("ab", buffering=0) as file, suppress(OSError):
            while (free := self.free_bytes - leave_bytes) > 0:
                file.write(bytes(min(free, 1 << 20)))

    def free(self) -> None:
        """Remove what `fill` wrote."""
        (self.seen / "data" / FILLER).unlink()


@contextmanager
def small_disk(home: Path, *, size_mib: int) -> Iterator[SmallDisk]:
    """Mount it at `home/data` for as long as the block runs."""
    data = home / "data"
    data.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o size={size_mib}m,mode=0700 tmpfs "$1" && echo mounted && exec cat'
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, "sh", str(data)],
        stdin=subprocess.PIPE,  # `cat` ends with it, and the mount with `cat`
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "mounted\n", "the tmpfs can't be mounted"
        yield SmallDisk(home, holder)
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
