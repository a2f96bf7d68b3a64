"""Tells when the files of a deployment have changed: its settings, templates and handlers.

What the system says of a folder is only a hint to look: files are compared by their content, so
that a touch, an editor's swap file or a half of a rename is no change. It is looked every few
seconds without a hint too, for what sends none: a bind mount, a network file system, a folder
that was replaced whole.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import structlog

from receiver.settings import CONFIG_FILE, Settings

log = structlog.get_logger("receiver.reload")

POLL_SECONDS = 5.0
"""How often it is looked without a hint."""
_DEBOUNCE_MS = 400
"""Changes within this time, and 50 ms of rest after them, are one."""

Look = dict[str, bytes]
"""A digest of each file, by its path."""


def look_at(files: Iterable[Path]) -> Look:
    """The files as they are now. Blocking; leaves out what can't be read."""
    return {str(file): digest for file in files if (digest := _digest(file)) is not None}


def handler_paths(settings: Settings) -> list[Path]:
    """Where handlers are loaded from, absolute."""
    return [settings.path(path) for path in settings.handlers.paths]


def settings_files(home: Path) -> list[Path]:
    """The file of settings, and the templates beside it."""
    config = home / CONFIG_FILE
    return [config, *(config.parent / "templates").rglob("*")]


def handler_files(paths: Sequence[Path]) -> list[Path]:
    """The Python files of these folders, those that handlers share too, and these files."""
    return [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]


def _digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:  # a folder, or gone since it was listed
        return None


class FileWatch:
    """Watches over the files of one deployment."""

    def __init__(self, home: Path, handler_paths: Callable[[], Sequence[Path]]) -> None:
        """`handler_paths` are those of the settings in force: folders and files, absolute.

        What changes from now on is a change. Blocking.
        """
        self._home = home
        self._handler_paths = handler_paths
        self._known = self._look()

    async def changes(self) -> AsyncGenerator[None, None]:
        """Comes back each time that something is different; without end."""
        while True:
            folders = self._folders()
            async with aclosing(_hints(folders)) as hints:
                async for _ in hints:
                    now = await asyncio.to_thread(self._look)
                    if now != self._known:
                        self._known = now
                        yield
                    if self._folders() != folders:
                        break

    def _look(self) -> Look:
        return look_at([*settings_files(self._home), *handler_files(self._handler_paths())])

    def _folders(self) -> list[Path]:
        wanted = [(self._home / CONFIG_FILE).parent, *self._handler_paths()]
        return [folder for folder in dict.fromkeys(wanted) if folder.is_dir()]


async def _hints(folders: Sequence[Path]) -> AsyncGenerator[None, None]:
    """Comes back when something may have changed, and every few seconds."""
    from watchfiles import awatch  # noqa: PLC0415 - it is of no use with server.reload = false

    yield
    if folders:
        watch = awatch(
            *folders,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            rust_timeout=int(POLL_SECONDS * 1000),
            yield_on_timeout=True,
        )
        try:
            async with aclosing(watch):
                async for _ in watch:
                    yield
        except (OSError, RuntimeError) as error:
            # No more watches are to be had from the system (fs.inotify.max_user_watches).
            log.warning("reload.polls", error=str(error), every_seconds=POLL_SECONDS)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        yield
