"""The engine: a deployment's store, handlers, channels and dispatcher, put together.

Everything that runs deliveries is made from one: a server, and a command that replays while no
server runs.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

from receiver.acknowledge_link import AcknowledgeLinks
from receiver.disk import watch_disk
from receiver.dispatch import Dispatcher, Lane
from receiver.dispatch.dead import tell_of_dead
from receiver.dispatch.intake import DispatchIntake, Planner
from receiver.dispatch.releasing import Releaser
from receiver.dispatch.threads import HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.errors import ConfigError
from receiver.housekeeping import keep_house
from receiver.notify import Notifier
from receiver.notify.classify import MAX_RETRY_AFTER_SECONDS
from receiver.notify.outbox import Outbox
from receiver.registry import Registry, load_handlers
from receiver.replay import Progress, Repeater, Replayer, take_over_abandoned
from receiver.settings import Settings
from receiver.settings.model import ClaribiSettings
from receiver.store.base import REST_UNTIL, Claim, Finish
from receiver.store.space import DiskSpace
from receiver.store.sqlite import SqliteStore
from receiver.wiring import Process, Wiring

if TYPE_CHECKING:
    from claribi import AsyncClariBI, WebhookWaker

log = structlog.get_logger("receiver.engine")


def load_registry(settings: Settings) -> Registry:
    """The handlers of the settings; raises HandlerLoadError."""
    paths = [settings.home / path for path in settings.handlers.paths]
    registry = load_handlers(
        paths, plugins=settings.handlers.plugins, on_error=settings.handlers.on_error
    )
    return registry.without(settings.handlers.disabled) if settings.handlers.disabled else registry


def claribi_client(settings: ClaribiSettings, **more: Any) -> "AsyncClariBI":
    """The API client of the settings; `more` is what else it takes. They have credentials."""
    from claribi import AsyncClariBI  # noqa: PLC0415 - slow, and seldom used

    return AsyncClariBI(
        base_url=settings.base_url,
        api_key=_reveal(settings.api_key),
        api_key_style=settings.api_key_style,
        email=settings.email,
        password=_reveal(settings.password),
        totp=_reveal(settings.totp),
        timeout=settings.timeout.total_seconds(),
        **more,
    )


class Engine:
    """All that handles events, from the settings. `start` and `stop` it once, on one loop."""

    def __init__(
        self,
        settings: Settings,
        store: SqliteStore,
        registry: Registry,
        *,
        max_running: int | None = None,
    ) -> None:
        """`max_running`: at most so many deliveries run at a time; None is no such bound."""
        self.store = store
        self.waker: WebhookWaker | None = None
        """Wakes the API client's waits by the webhooks that come in; None before its first use."""
        self._warm_up: asyncio.Task[None] | None = None
        self._house: asyncio.Task[None] | None = None
        self._replays: asyncio.Task[None] | None = None
        self._releases: asyncio.Task[None] | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._threads = HandlerThreads(settings.dispatch.threads)
        self._watchdog = Watchdog(registry.handlers)
        self.space = DiskSpace(store.path, min_free_bytes=settings.store.min_free_bytes)
        store.on_full = self.space.note_full
        self.links = AcknowledgeLinks()
        self._process = Process(
            store=store,
            links=self.links,
            threads=self._threads,
            watchdog=self._watchdog,
            abandon=self._abandon,
            lane=self._lane,
            make_claribi=self._make_claribi,
            current=lambda: self.wiring,
        )
        self._leaving: list[Wiring] = []
        """Those before it of which something still runs."""
        self._closing: set[asyncio.Task[None]] = set()
        self.on_adopted: Callable[[], None] = _nothing
        """Called when other settings have come into force."""
        self.wiring = Wiring(settings, registry, self._process)
        """What is made from the settings as they are now."""
        self.dispatcher = Dispatcher(
            store,
            self.wiring.lanes,
            lease_seconds=settings.dispatch.lease.total_seconds(),
            max_running=max_running,
            max_backlog=settings.store.max_backlog,
            redact=self.notifier.redactor,
        )
        self._tell_store()
        store.on_dead_told = self.dispatcher.expect
        self.intake = DispatchIntake(
            store,
            self.planner,
            self.dispatcher if settings.dispatch.enabled else None,
            self.dispatcher.backlog,
            self.space,
        )

    @property
    def settings(self) -> Settings:
        """The settings that are in force."""
        return self.wiring.settings

    @property
    def key(self) -> bytes | None:
        """The deployment's own secret; None until the store is open."""
        return self.links.key

    @property
    def registry(self) -> Registry:
        """The handlers that run."""
        return self.wiring.registry

    @property
    def notifier(self) -> Notifier:
        """The targets of all channels."""
        return self.wiring.notifier

    @property
    def planner(self) -> Planner:
        """Which deliveries an event becomes."""
        return self.wiring.planner

    @property
    def outbox(self) -> Outbox:
        """What every message goes through on its way into the store."""
        return self.wiring.outbox

    async def start(self) -> None:
        """Open the store and begin to run deliveries."""
        self.space.make_way()
        await self.store.open()
        self.links.key = await self.store.link_key()
        self._watches = [
            asyncio.create_task(watch_disk(self.store, self.space), name="disk"),
            asyncio.create_task(
                self.dispatcher.backlog.keep_counting(lambda: self.dispatcher.running),
                name="backlog",
            ),
        ]
        self._house = asyncio.create_task(
            keep_house(self.store, lambda: self.settings),
            name="housekeeping",
        )
        if self.settings.dispatch.enabled:
            for lane in await self.wiring.stand_in_lanes():
                self.dispatcher.add_lane(lane)
            self._watchdog.start()
            await self._go_on_resting()
            await self.dispatcher.start()
            self._warm_up = asyncio.create_task(self._warm_up_what_is_slow(), name="warm-up")
            releaser = Releaser(self.store, lambda: self.outbox, self.dispatcher.expect)
            self._releases = asyncio.create_task(releaser.run(), name="releases")
            self._replays = asyncio.create_task(
                take_over_abandoned(self.store, self.replayer()), name="abandoned-replays"
            )
        else:
            await self.dispatcher.heart.start()

    async def _go_on_resting(self) -> None:
        """A target that asked for a rest (Retry-After) has the rest of it after a restart, too."""
        for lane in self.wiring.lanes:
            if lane.pace is not None and "/" in lane.name:  # no handler's name has one
                until_ms = await self.store.value(lane.name, REST_UNTIL)
                # No longer than any rest is, should the clock have been put back since.
                left_seconds = min(int(until_ms or 0) / 1000 - time.time(), MAX_RETRY_AFTER_SECONDS)
                lane.pace.pause(time.monotonic() + left_seconds)

    async def _warm_up_what_is_slow(self) -> None:
        """Import Apprise and open every URL, so that the first message need not wait for it; and
        import the API client, or the first handler to use it would block the loop for as long."""
        if self.settings.claribi.has_account:
            await asyncio.to_thread(import_module, "claribi")
        if not self.notifier.channels:
            return
        try:
            await self.notifier.warm_up()
        except ConfigError as error:
            # Their messages will be dead with the same words; the others go out.
            log.error("channels.wrong", problems=list(error.problems))

    def _tell_store(self) -> None:
        self.store.on_dead = tell_of_dead(self.planner)
        self.store.fall_back = self.wiring.fall_back

    # -- other settings -------------------------------------------------------------------------

    def prepare(self, settings: Settings, registry: Registry) -> Wiring:
        """What these settings would be, made without a change to what runs.

        May be called in another thread. Raises ConfigError with what is wrong with them.
        """
        wiring = Wiring(settings, registry, self._process, self.wiring)
        wiring.notifier.check()
        return wiring

    async def adopt(self, wiring: Wiring) -> None:
        """Put it into force, between two steps of the loop. Raises StoreError, and then is not.

        What runs ends as it has begun. What waits, and what is accepted from now on, is for the
        new one, but for targets and handlers that are no more: that waits for nobody, as it would
        after a restart.
        """
        stand_ins = await wiring.stand_in_lanes() if wiring.settings.dispatch.enabled else []
        before, self.wiring = self.wiring, wiring
        self.dispatcher.replace_lanes([*wiring.lanes, *stand_ins])
        self.dispatcher.backlog.most = wiring.settings.store.max_backlog
        self.intake.planner = wiring.planner
        self._watchdog.look_for(wiring.registry.handlers)
        self._tell_store()
        self.on_adopted()
        self._leaving.append(before)
        before.on_idle = lambda: self._close_unused(before)
        if before.running == 0:
            self._close_unused(before)

    def _close_unused(self, left: Wiring) -> None:
        """Close what none but this one has used, in which nothing runs any more."""
        if left in self._leaving:
            self._leaving.remove(left)
        used = {id(part) for each in (self.wiring, *self._leaving) for part in each.parts}
        for part in left.parts:
            if id(part) not in used:
                closing = asyncio.create_task(part.close(), name="close-unused")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    @property
    def refusal(self) -> str | None:
        """Why no event is accepted now; None while it is."""
        if self.space.reason is None and self.dispatcher.backlog.is_full:
            return str(self.dispatcher.backlog.refusal())
        return self.space.reason

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Finish or give back what runs, within that time (or `server.drain_timeout`), and close.

        `Dispatcher.stop` says how much longer it may take, and what becomes of the rest.
        """
        if drain_seconds is None:
            drain_seconds = self.settings.server.drain_timeout.total_seconds()
        drain_seconds = max(0.0, drain_seconds)
        for task in (self._house, self._warm_up, self._replays, self._releases, *self._watches):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        given_back = await self.dispatcher.stop(drain_seconds)
        log.info("engine.stopped", given_back=given_back)
        self._watchdog.stop()
        for wiring in (*self._leaving, self.wiring):
            wiring.on_idle = None
            await wiring.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.store.close()

    def replayer(self, on_still: Callable[[Progress], None] = lambda _progress: None) -> Replayer:
        """Repeats stored events with these handlers, routes and channels."""
        return Replayer(self.store, self.repeater, wake=self.dispatcher.wake, on_still=on_still)

    @property
    def repeater(self) -> Repeater:
        """What stored events become with these handlers, routes and channels."""
        return Repeater(self.store, self.wiring.plan_again, self.wiring.find_target)

    def _make_claribi(self, settings: ClaribiSettings) -> "AsyncClariBI":
        """The API client of all handlers; webhooks that come in wake what waits in it."""
        from claribi import WebhookWaker  # noqa: PLC0415 - slow, and seldom used

        self.waker = waker = WebhookWaker()

        def listen(event_type: str, body: Mapping[str, Any]) -> None:
            data = body.get("data")
            if isinstance(data, dict):
                waker.wake(event_type, data)

        self.intake.listener = listen
        return claribi_client(settings, waker=waker)

    def _abandon(self, claim: Claim, finish: Finish) -> None:
        # Lanes are made before the dispatcher that runs them.
        self.dispatcher.abandon(claim, finish)

    def _lane(self, name: str) -> Lane | None:
        return self.dispatcher.lane(name)


def _nothing() -> None:
    pass


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
