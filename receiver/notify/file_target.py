"""A target that is a file: `file://PATH` appends each message as one line of JSON."""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from receiver.errors import ConfigError
from receiver.model import Message, Outcome
from receiver.notify.content import Content
from receiver.notify.lane import Lane
from receiver.notify.target import DELIVERED, SendResult
from receiver.rate import Rate

SCHEME = "file://"
_LASTING = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG})


def file_path(url: str, home: Path, *, where: str) -> PurePosixPath:
    """The path that a file URL names, relative to the deployment's home.

    `file://data/out.jsonl` is relative to it, `file:///srv/clarihook/out.jsonl` must lie in it.
    Raises ConfigError for a path that leaves it, or that names no file.
    """
    text = unquote(url[len(SCHEME) :])
    path, root = PurePosixPath(text), PurePosixPath(home.resolve())
    if path.is_absolute():
        inside = next((base for base in (root, PurePosixPath(home)) if base in path.parents), None)
        if inside is None:
            raise ConfigError(f"{where}: the file must lie in the deployment's home, {home}")
        path = path.relative_to(inside)
    if not path.parts or ".." in path.parts or "\0" in text or text.endswith("/"):
        raise ConfigError(
            f'{where}: write the path of a file in the deployment\'s home, without "..", '
            'e.g. "file://data/messages.jsonl"'
        )
    return path


class FileTarget:
    """Appends to one file; a symbolic link anywhere in its path below the home is refused.

    The file is made with mode 0600, and each line is on the disk (fsync) before the send counts
    as delivered. Attachments are named with their size, their bytes are not written.
    """

    def __init__(
        self,
        name: str,
        path: PurePosixPath,
        *,
        home: Path,
        timeout_seconds: float,
        rate: Rate | None = None,
        concurrency: int = 1,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._path = path
        self._home = home
        self._now = now
        self._lane = Lane(name, timeout_seconds=timeout_seconds, rate=rate, concurrency=concurrency)
        self.pace = self._lane.pace

    async def send(self, message: Message) -> SendResult:
        line = _line(message, self.prepare(message), self._now())
        return await self._lane.run(lambda _slot: self._append(line))

    def prepare(self, message: Message) -> Content:
        """See `Target.prepare`. A file is no service with a markup: it gets the text as it is."""
        return Content(message.title, *message.body_in("text"))

    async def close(self) -> None:
        self._lane.stop()

    def _append(self, line: bytes) -> SendResult:
        try:
            with _opened(self._home, self._path) as descriptor:
                _append_whole(descriptor, line)
        except OSError as error:
            return SendResult(
                outcome=Outcome.PERMANENT if error.errno in _LASTING else Outcome.TRANSIENT,
                error_class=type(error).__name__,
                error=f"{self.name}: can't write {self._path}: {error.strerror}",
            )
        return DELIVERED


def _line(message: Message, text: Content, now: datetime) -> bytes:
    record = {
        "sent_at": now.isoformat(timespec="milliseconds"),
        "channel": message.channel,
        "severity": message.severity.value,
        "format": text.format,
        "title": text.title,
        "body": text.body,
        "attachments": [
            {"name": file.name, "content_type": file.content_type, "bytes": len(file.content)}
            for file in message.attachments
        ],
    }
    return json.dumps(record).encode() + b"\n"


@contextmanager
def _opened(home: Path, path: PurePosixPath) -> Iterator[int]:
    """The file, open for appending; each folder is opened from the one above it, so that no
    link put in the way at the last moment leads elsewhere.
    """
    folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    folder = os.open(home, folder_flags)
    try:
        for part in path.parts[:-1]:
            inner = _open_folder(part, folder, folder_flags | os.O_NOFOLLOW)
            os.close(folder)
            folder = inner
        # Non-blocking: a FIFO without a reader fails with ENXIO and does not hang.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path.name, flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENXIO, "it is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(name: str, parent: int, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):  # Another target was faster.
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)


def _append_whole(descriptor: int, line: bytes) -> None:
    """Write the line whole or not at all, also beside another process that does the same."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    before = os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
