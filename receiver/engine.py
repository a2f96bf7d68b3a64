"""The engine: a deployment's store, handlers, channels and dispatcher, put together.

Everything that runs deliveries is made from one: a server, and a command that replays while no
server runs.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

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
from receiver.notify.outbox import Outbox
from receiver.registry import Registry, load_handlers
from receiver.replay import Progress, Repeater, Replayer, take_over_abandoned
from receiver.settings import Settings
from receiver.settings.model import ClaribiSettings
from receiver.store.base import Claim, Finish
from receiver.store.space import DiskSpace
from receiver.store.sqlite import Role, SqliteStore
from receiver.wiring import Process, Wiring

if TYPE_CHECKING:
    from claribi import AsyncClariBI, WebhookWaker

log = structlog.get_logger("receiver.engine")


def open_store(settings: Settings, *, role: Role) -> SqliteStore:
    """The store of the settings, not yet opened. Raises ConfigError for a kind we don't have."""
    if settings.sqlite_path is None:
        raise ConfigError(
            "store.url: this version keeps its data in SQLite only; write "
            "sqlite:///data/clarihook.db"
        )
    return SqliteStore(
        settings.sqlite_path,
        role=role,
        max_rejections=settings.rejections.max_count,
        lease_seconds=settings.dispatch.lease.total_seconds(),
    )


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
        self.wiring = Wiring(
            settings,
            registry,
            Process(
                store=store,
                threads=self._threads,
                watchdog=self._watchdog,
                abandon=self._abandon,
                lane=self._lane,
                make_claribi=self._make_claribi,
            ),
        )
        """What is made from the settings as they are now."""
        self.dispatcher = Dispatcher(
            store,
            self.wiring.make_lanes(),
            lease_seconds=settings.dispatch.lease.total_seconds(),
            max_running=max_running,
            max_backlog=settings.store.max_backlog,
            redact=self.notifier.redactor,
        )
        store.on_dead = tell_of_dead(self.planner)
        store.fall_back = self.wiring.fall_back
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
        self._watches = [
            asyncio.create_task(watch_disk(self.store, self.space), name="disk"),
            asyncio.create_task(
                self.dispatcher.backlog.keep_counting(lambda: self.dispatcher.running),
                name="backlog",
            ),
        ]
        self._house = asyncio.create_task(
            keep_house(self.store, self.settings.store, self.settings.rejections.max_age),
            name="housekeeping",
        )
        if self.settings.dispatch.enabled:
            for lane in await self.wiring.stand_in_lanes():
                self.dispatcher.add_lane(lane)
            self._watchdog.start()
            await self.dispatcher.start()
            self._warm_up = asyncio.create_task(self._warm_up_channels(), name="warm-up")
            releaser = Releaser(self.store, lambda: self.outbox, self.dispatcher.expect)
            self._releases = asyncio.create_task(releaser.run(), name="releases")
            self._replays = asyncio.create_task(
                take_over_abandoned(self.store, self.replayer()), name="abandoned-replays"
            )
        else:
            await self.dispatcher.heart.start()

    async def _warm_up_channels(self) -> None:
        """Import Apprise and open every URL, so that the first message need not wait for it."""
        if not self.notifier.channels:
            return
        try:
            await self.notifier.warm_up()
        except ConfigError as error:
            # Their messages will be dead with the same words; the others go out.
            log.error("channels.wrong", problems=list(error.problems))

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
        await self.wiring.close()
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


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
