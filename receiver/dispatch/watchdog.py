"""Names the handler that keeps the event loop from all other work.

While a handler runs, a timer of the loop notes the time, and a thread looks how old that note
is; the thread, because a loop that is blocked can't look at itself. When it is too old, the
thread looks at what the loop's thread is doing. While no handler runs, both sleep.
"""

import asyncio
import inspect
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FrameType

import structlog

from receiver.model import stand_in_name
from receiver.registry import Handler

log = structlog.get_logger("receiver.dispatch")

TICK_SECONDS = 0.05
BLOCK_SECONDS = 0.25
"""A loop that does nothing else for so long is blocked."""
TELL_SECONDS = 10.0
"""How often a block that lasts is told, and at most how often the same one when it comes again."""
_MAX_PLACES = 1000
"""Of so many blocking places it is remembered that they were told."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the loop was blocked."""

    name: str | None
    """The handler; None if it was no handler's doing."""
    at: str
    """`syncs.py:42 in fetch`."""


@dataclass(slots=True)
class _Told:
    """What was said about a place, and how often it has come again since."""

    at: float
    again: int = 0


class Handlers:
    """Finds the handler in a stack."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._by_code: dict[CodeType, str | None] = {}
        self._by_file: dict[str, str] = {}
        self._folders: set[str] = set()
        for each in handlers:
            code = inspect.unwrap(each.func).__code__
            # A decorator without functools.wraps gives all that it wraps one and the same code.
            known = self._by_code.setdefault(code, each.name)
            if known != each.name:
                self._by_code[code] = None
            for file in {each.file, code.co_filename}:
                name = stand_in_name(Path(file).stem) if file in self._by_file else each.name
                self._by_file[file] = name
                self._folders.add(_folder(file))

    def find(self, top: FrameType) -> tuple[Place, FrameType | None]:
        """What a thread with this innermost frame is doing, and the handler's own frame.

        `at` is the innermost line in the handlers' folders: what they call in a library is
        their doing.
        """
        ours = [each for each in _stack(top) if _folder(each.f_code.co_filename) in self._folders]
        for frame in ours:
            if (name := self._by_code.get(frame.f_code)) is not None:
                return Place(name, _at(ours[0])), frame
        for frame in reversed(ours):  # a task that a handler has started
            if (name := self._by_file.get(frame.f_code.co_filename)) is not None:
                return Place(name, _at(ours[0])), frame
        return Place(None, _at(top)), None


@dataclass(slots=True)
class _Block:
    """A stretch in which the loop did not get to its timers."""

    beat_at: float
    """The last note before it."""
    lost_seconds: float = 0.0
    """In which the process did not run at all."""
    looks: dict[FrameType | None, Counter[Place]] = field(default_factory=dict)
    """What was seen: per run of a handler, for how many microseconds it was where."""
    tell_at: float = 0.0

    def seconds(self, until: float) -> float:
        """How long it lasted at least: it may have begun at any time before the timer was due."""
        return until - self.beat_at - TICK_SECONDS - self.lost_seconds

    def add(self, place: Place, frame: FrameType | None, seconds: float) -> None:
        """Note what the loop was seen doing."""
        self.looks.setdefault(frame, Counter())[place] += round(seconds * 1e6)

    def place(self, seconds: float) -> Place:
        """Who did it: one run of a handler, if it alone took too long; many short ones, nobody.

        Where, is where it was longest.
        """
        frame, places = max(self.looks.items(), key=lambda each: each[1].total())
        ((place, _),) = places.most_common(1)
        share = places.total() / sum(each.total() for each in self.looks.values())
        if frame is None or share * seconds > BLOCK_SECONDS - TICK_SECONDS:
            return place
        return Place(None, place.at)


class Watchdog:
    """Watches the running loop from `start` to `stop`."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers = Handlers(handlers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0
        self._beat_at: float | None = None
        self._is_over = False
        self._wake = threading.Event()
        self._told: dict[Place, _Told] = {}

    def look_for(self, handlers: Iterable[Handler]) -> None:
        """Name these handlers from now on, as the ones at the beginning."""
        self._handlers = Handlers(handlers)

    def start(self) -> None:
        """Watch the running loop, which is this thread's."""
        self._loop = asyncio.get_running_loop()
        thread = threading.get_ident()
        watch = threading.Thread(
            target=self._watch, args=(thread, _cpu_clock(thread)), name="loop-watchdog", daemon=True
        )
        watch.start()

    def stop(self) -> None:
        """Watch no more. Does not wait."""
        self._is_over = True
        self._wake.set()

    def begin(self) -> None:
        """A handler begins to run on the loop. Called on the loop, as is `end`."""
        self._running += 1
        if self._beat_at is None and self._loop is not None:
            self._beat(self._loop)
            self._wake.set()

    def end(self) -> None:
        """A handler has ended."""
        self._running -= 1

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._running and not self._is_over:
            self._beat_at = time.monotonic()
            loop.call_later(TICK_SECONDS, self._beat, loop)
        else:
            self._beat_at = None

    # -- on the thread --------------------------------------------------------------------------

    def _watch(self, thread: int, cpu_of: Callable[[], float]) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_over:
                return
            try:
                self._look(thread, cpu_of)
            except OSError:  # the clock of a thread that has ended, and its loop with it
                return

    def _look(self, thread: int, cpu_of: Callable[[], float]) -> None:
        """Look every tick, until no handler runs."""
        clock, cpu = time.monotonic(), cpu_of()
        block: _Block | None = None
        while True:
            before, cpu_before = clock, cpu
            time.sleep(TICK_SECONDS)
            clock, cpu, beat_at = time.monotonic(), cpu_of(), self._beat_at
            if block is not None and beat_at != block.beat_at:
                self._end(block, beat_at or clock)
                block = None
            if beat_at is None or self._is_over:
                return
            if clock - beat_at < 2 * TICK_SECONDS:
                continue
            block = block or _Block(beat_at, tell_at=TELL_SECONDS)
            # A process that was stopped, or got no processor, has not blocked itself. Code that
            # holds the interpreter lock holds up this thread too, and takes processor time.
            elapsed = clock - max(before, beat_at)
            seconds = min(elapsed, max(2 * TICK_SECONDS, cpu - cpu_before))
            block.lost_seconds += elapsed - seconds
            top = sys._current_frames().get(thread)
            if top is None:
                return
            block.add(*self._handlers.find(top), seconds)
            del top
            if block.seconds(clock) >= block.tell_at:
                block.tell_at += TELL_SECONDS
                self._tell(block.place(block.seconds(clock)), block.seconds(clock), goes_on=True)

    def _end(self, block: _Block, until: float) -> None:
        """Tell of a block that is over; of one that was told lately it is counted only."""
        seconds = block.seconds(until)
        if seconds < BLOCK_SECONDS - TICK_SECONDS:
            return
        place, now = block.place(seconds), time.monotonic()
        told = self._told.get(place)
        if told is not None and now - told.at < TELL_SECONDS:
            told.again += 1
            return
        if len(self._told) >= _MAX_PLACES:
            self._told.clear()
        self._told[place] = _Told(now)
        self._tell(place, seconds, goes_on=False, and_others=told.again if told is not None else 0)

    def _tell(self, place: Place, seconds: float, *, goes_on: bool, and_others: int = 0) -> None:
        fields = {
            "at": place.at,
            "blocked_ms": round(seconds * 1000),
            "goes_on": goes_on,
            "and_others": and_others,
        }
        if place.name is None:
            log.warning("loop.blocked", **fields)
        else:
            log.warning("handler.blocks_the_loop", name=place.name, **fields)


def _cpu_clock(thread: int) -> Callable[[], float]:
    """The processor time that a thread has used, in seconds; the process's where that is all."""
    if sys.platform == "darwin":
        return time.process_time
    return partial(time.clock_gettime, time.pthread_getcpuclockid(thread))


def _stack(top: FrameType) -> Iterator[FrameType]:
    """The frames of a thread, innermost first."""
    frame: FrameType | None = top
    while frame is not None:
        yield frame
        frame = frame.f_back


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _at(frame: FrameType) -> str:
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_name}"
