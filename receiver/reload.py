"""Takes changed settings, templates and handlers into force while everything runs.

All that is new is made and checked off to the side, in a thread; then it is put in place of the
old between two steps of the loop, or is refused whole.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from receiver.engine import Engine, load_registry
from receiver.errors import ClarihookError, ConfigError, HandlerLoadError
from receiver.file_watch import FileWatch, Look, handler_files, handler_paths, look_at
from receiver.model import Event
from receiver.observe import configure_logging
from receiver.registry import Registry
from receiver.registry.load import modules_kept_on_error
from receiver.rerouting import difference
from receiver.settings import Settings
from receiver.settings.changes import NEEDS_RESTART, as_overrides, changed_keys
from receiver.store.base import EventFilter
from receiver.wiring import Wiring

log = structlog.get_logger("receiver.reload")

LOOK_BACK = 100
"""So many of the latest events are looked at for a difference."""
_PAGE = 10
LOOK_BACK_SECONDS = 5.0
"""And for so long at most."""
MOST_TOLD = 10
"""So many of those that differ are logged one by one."""

LoadSettings = Callable[[Mapping[str, Any]], Settings]
"""The deployment's settings as they are now, with these over them; raises ConfigError."""


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What is ready to be put into force."""

    wiring: Wiring
    keys: tuple[str, ...]
    """The settings that change by it."""
    needs_restart: tuple[str, ...]
    """Those that stay as they were."""
    has_new_handlers: bool
    handlers: Look
    """Their files, as they were before they were loaded."""


def _nothing(_taken: bool) -> None:
    pass


class Reloader:
    """Reloads one engine. Used on its loop."""

    def __init__(self, engine: Engine, load: LoadSettings) -> None:
        self._engine = engine
        self._load = load
        self.on_done: Callable[[bool], None] = _nothing
        """Told of each reload whether it was taken."""
        self._asked = asyncio.Event()
        self._tells = True
        self._handlers = look_at(handler_files(handler_paths(engine.settings)))
        self._watch = FileWatch(engine.settings.home, lambda: handler_paths(self._engine.settings))
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, watches_files: bool) -> None:
        """Reload whenever it is asked for, and when the files change if they are watched."""
        self._tasks = [asyncio.create_task(self._run(), name="reload")]
        if watches_files:
            self._tasks.append(asyncio.create_task(self._look_at_files(), name="reload-watch"))

    async def stop(self) -> None:
        """Reload no more. One that is under way is not put into force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ask(self, tells: bool = True) -> None:
        """Reload soon; `tells` is whether to say what that means for the latest events."""
        self._tells = tells
        self._asked.set()

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload(tells=self._tells)

    async def _look_at_files(self) -> None:
        async for _ in self._watch.changes():
            self.ask()

    async def reload(self, *, tells: bool = True) -> bool:
        """Reload now; whether it was taken. Raises nothing."""
        before = self._engine.wiring
        try:
            made = await asyncio.to_thread(self._make)
            await self._engine.adopt(made.wiring)
        except ConfigError as error:
            return self._refuse(error.problems)
        except ClarihookError as error:
            return self._refuse([str(error)])
        except Exception:  # a task's border: what runs must not end by it
            log.exception("reload.fault")
            self.on_done(False)
            return False
        self._handlers = made.handlers
        self._tell(before.settings, made)
        self.on_done(True)
        with contextlib.suppress(ClarihookError):
            await self._engine.dispatcher.count_waiting()
            if tells:
                await self._look_back(before, made.wiring)
        return True

    def _refuse(self, problems: Sequence[str]) -> bool:
        log.error("reload.refused", problems=list(problems), remedy="the old settings stay")
        self.on_done(False)
        return False

    # -- making, in a thread --------------------------------------------------------------------

    def _make(self) -> _Made:
        """Raises ConfigError or HandlerLoadError with all that is wrong."""
        now = self._engine.settings
        settings = self._load({})
        keys = changed_keys(now, settings)
        needs_restart = tuple(key for key in keys if key in NEEDS_RESTART)
        if needs_restart:
            # Checked with what stays: a source without a signature is for loopback only.
            settings = self._load(as_overrides(now, needs_restart))
        files = look_at(handler_files(handler_paths(settings)))
        with modules_kept_on_error():
            registry, has_new_handlers = self._load_handlers(settings, files)
            return _Made(
                wiring=self._engine.prepare(settings, registry),
                keys=tuple(key for key in keys if key not in NEEDS_RESTART),
                needs_restart=needs_restart,
                has_new_handlers=has_new_handlers,
                handlers=files,
            )

    def _load_handlers(self, settings: Settings, files: Look) -> tuple[Registry, bool]:
        """The handlers, and whether they were loaded anew: only if their files have changed.

        Loaded anew they lose what their modules keep in variables.
        """
        known = self._engine.registry
        is_same = self._engine.settings.handlers == settings.handlers
        if is_same and files == self._handlers:
            return known, False
        loaded = load_registry(settings)
        broken = {problem.prefix for problem in known.problems}
        for problem in loaded.problems:
            if problem.prefix not in broken:
                # Held deliveries are for a start that has nothing better. Here the old code runs.
                raise HandlerLoadError(problem.text)
        return loaded, True

    # -- telling --------------------------------------------------------------------------------

    def _tell(self, before: Settings, made: _Made) -> None:
        settings = made.wiring.settings
        if before.log != settings.log:
            configure_logging(
                settings.log.level, settings.log.format, redact=self._engine.notifier.redactor
            )
        log.info(
            "reload.done",
            changed=list(made.keys) or "nothing",
            handlers="loaded anew" if made.has_new_handlers else "as before",
        )
        if made.needs_restart:
            log.warning(
                "reload.needs_restart",
                keys=list(made.needs_restart),
                remedy="these stay as they were until the process is restarted",
            )
        for problem in made.wiring.registry.problems:
            log.error("handlers.not_loaded", file=problem.file, problem=problem.text)

    async def _look_back(self, before: Wiring, after: Wiring) -> None:
        """Log which of the latest events would be routed differently. Raises StoreError."""
        give_up_at = time.monotonic() + LOOK_BACK_SECONDS
        looked_at = differ = 0
        async for event in self._latest_events():
            if time.monotonic() > give_up_at or self._asked.is_set():
                break
            # Each in a thread: a large body and 200 conditions take their time.
            change = await asyncio.to_thread(difference, before, after, event)
            looked_at += 1
            if change is None:
                continue
            differ += 1
            if differ <= MOST_TOLD:
                log.info("reload.rerouted", event_id=event.id, type=event.type, change=change)
        log.info("reload.looked_back", events=looked_at, rerouted=differ)

    async def _latest_events(self) -> AsyncIterator[Event]:
        """The newest first, few at a time: their bodies may be large."""
        last: str | None = None
        for _ in range(LOOK_BACK // _PAGE):
            which = EventFilter(before=last, with_own=False)
            page = await self._engine.store.events(which, limit=_PAGE)
            for event in page:
                yield event
                last = event.id
            if len(page) < _PAGE:
                break
