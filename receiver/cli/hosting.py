"""Runs a replay for a command: beside the server that has the database, or in its stead."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from receiver.cli.authors import os_user
from receiver.cli.deployment import store_of
from receiver.cli.output import print_json, print_line, print_warning
from receiver.cli.records import replay_record
from receiver.cli.replay_view import View, print_end, print_quiet_messages, quiet_messages
from receiver.cli.running import run_loop
from receiver.errors import StoreError, StoreLocked
from receiver.model import State
from receiver.replay import Progress, Replayer, Selection, Status, pause, reopen
from receiver.settings import Settings
from receiver.store.files import OwnerLock
from receiver.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from receiver.engine import Engine
    from receiver.registry import Registry


_NICENESS = 10
"""Beside a server: what adds a replay's parts takes the processor that nobody else needs. Live
events' p99 is a sixth lower for it where there are two (benchmarks/replay.py)."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a replay goes; None is without a limit of its own, or as it was."""

    events_per_second: float | None
    concurrency: int | None


def host_replay(
    settings: Settings,
    registry: "Registry",
    pace: Pace,
    *,
    as_json: bool,
    selection: Selection | None = None,
    replay_id: int | None = None,
) -> None:
    """Begin a replay (or reopen one), run it, and end the command as it ended."""

    async def main() -> Progress:
        nonlocal replay_id
        async with hosted(settings, registry) as host:
            if selection is None:
                assert replay_id is not None, "one of the two is given"
                begun = await reopen(host.store, replay_id, **asdict(pace))
            else:
                now_ms = int(time.time() * 1000)
                begun = await host.replayer().begin(
                    selection, author=os_user(), now_ms=now_ms, **asdict(pace)
                )
                replay_id = begun.replay.id
            with View() as view:
                progress = await _follow(host, begun.replay.id, view)
            if not as_json:
                print_end(progress)
                print_quiet_messages(await quiet_messages(host.store, progress))
            return progress

    try:
        progress = run_loop(main())
    except KeyboardInterrupt:
        if as_json:
            print_json({"id": replay_id, "status": Status.PAUSED})
        elif replay_id is not None:
            print_line(
                f"paused; nothing is lost. Go on: clarihook replay resume {replay_id}. "
                "What was added already runs whenever `clarihook serve` does."
            )
        raise
    if as_json:
        print_json(replay_record(progress))
    if progress.replay.states.get(State.DEAD) or progress.status is Status.CANCELLED:
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where the replay's deliveries run."""

    engine: "Engine"
    """In this process, it is started; beside a server, it only plans."""
    has_server: bool

    @property
    def store(self) -> SqliteStore:
        """The opened store."""
        return self.engine.store

    def replayer(self) -> Replayer:
        """Adds the replay's parts, and follows it."""
        return self.engine.replayer(_Watch(self).look)


class _Watch:
    """Looks after a replay that does not move."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._has_told = False

    def look(self, progress: Progress) -> None:
        """Say once why it may be; raises StoreError if nobody runs deliveries any more."""
        if self._host.has_server:
            self._check_server()
        if self._has_told:
            return
        self._has_told = True
        states = progress.replay.states
        if states.get(State.RETRYING):
            print_warning("some wait for their next attempt; Ctrl-C leaves, nothing is lost")
        elif states.get(State.PENDING) and not states.get(State.RUNNING) and self._host.has_server:
            print_warning(
                "the server does not take them up: if it was started before these handlers were "
                "written, restart it; Ctrl-C leaves, nothing is lost"
            )

    def _check_server(self) -> None:
        lock = OwnerLock(self._host.store.path)
        if lock.take():
            lock.release()
            raise StoreError(
                "the server has stopped, so nothing runs the deliveries. Nothing is lost: "
                "`clarihook serve` goes on with it by itself, `clarihook replay resume` here."
            )


@asynccontextmanager
async def hosted(settings: Settings, registry: "Registry") -> AsyncIterator[Host]:
    """A host for replays: this process, unless a server has the database.

    While it is this process, it does all that a server's dispatcher does: other deliveries
    that are due run too.
    """
    # Slow to import, and only replays need them.
    from receiver.engine import Engine  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415

    dispatch = settings.dispatch.model_copy(update={"enabled": True})
    settings = settings.model_copy(update={"dispatch": dispatch})
    engine = Engine(settings, store_of(settings, "owner"), registry)
    configure_logging("error", settings.log.format, redact=engine.notifier.redactor)
    try:
        await engine.start()
    except StoreLocked:
        guest = Engine(settings, store_of(settings, "guest"), registry)
        await guest.store.open()
        os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
        try:
            yield Host(engine=guest, has_server=True)
        finally:
            await guest.store.close()
        return
    try:
        yield Host(engine=engine, has_server=False)
    finally:
        await engine.stop()


async def _follow(host: Host, replay_id: int, on_progress: Callable[[Progress], None]) -> Progress:
    """Run the replay until it has ended; a cancellation of the task pauses it."""
    try:
        return await host.replayer().run(replay_id, on_progress)
    except asyncio.CancelledError:
        await pause(host.store, replay_id)
        raise
