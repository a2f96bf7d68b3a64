"""Runs a replay from a command: beside the server that has the database, or in its stead."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from receiver.cli.deployment import store_of
from receiver.cli.output import print_warning
from receiver.errors import StoreError, StoreLocked
from receiver.model import Event, NewDelivery, State, is_stand_in
from receiver.replay import PlanEvent, Progress, Replayer, pause
from receiver.settings import Settings
from receiver.store.files import OwnerLock
from receiver.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from receiver.engine import Engine
    from receiver.registry import Registry


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

    def replayer(self, events_per_second: float | None) -> Replayer:
        """Adds the replay's parts, and follows it."""
        return Replayer(
            self.store,
            planner_of(self.engine),
            events_per_second=events_per_second,
            wake=self.engine.dispatcher.wake,
            on_still=_Watch(self).look,
        )


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
                "the server has stopped, so nothing runs the deliveries. Nothing is lost: start "
                "`clarihook serve`, or go on here with `clarihook replay resume`."
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
        try:
            yield Host(engine=guest, has_server=True)
        finally:
            await guest.store.close()
        return
    try:
        yield Host(engine=engine, has_server=False)
    finally:
        await engine.stop()


def planner_of(engine: "Engine") -> PlanEvent:
    """What an event becomes with today's handlers and routes.

    Nothing for a file that is broken: whoever repeats now does not mean some later day.
    """

    def plan(event: Event) -> tuple[NewDelivery, ...]:
        try:
            value = event.json
        except (ValueError, RecursionError):  # a signed body that was kept although it is no event
            value = {}
        values = value if isinstance(value, dict) else {}
        made = engine.planner.plan(event.source, event.type).for_event(values)
        return tuple(new for new in made if not is_stand_in(new.name))

    return plan


async def follow(
    host: Host,
    replay_id: int,
    on_progress: Callable[[Progress], None],
    *,
    events_per_second: float | None = None,
) -> Progress:
    """Run the replay until it has ended; a cancellation of the task pauses it."""
    try:
        return await host.replayer(events_per_second).run(replay_id, on_progress)
    except asyncio.CancelledError:
        await pause(host.store, replay_id)
        raise


def run_loop(main: Any) -> Any:
    """Run a coroutine, on uvloop where there is one: it moves a third more deliveries."""
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
