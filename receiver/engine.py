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
from receiver.dispatch import Dispatcher, Lane, forwarding
from receiver.dispatch.circuit import CircuitRules
from receiver.dispatch.dead import tell_of_dead
from receiver.dispatch.ending import RetryRules
from receiver.dispatch.forwarding import Forward, build_forwards
from receiver.dispatch.intake import DispatchIntake, Planner
from receiver.dispatch.policies import NOTHING_SET, HandlerPolicies
from receiver.dispatch.releasing import Releaser
from receiver.dispatch.resources import SharedResources
from receiver.dispatch.run_handler import HandlerRunner
from receiver.dispatch.run_routes import RoutesRunner
from receiver.dispatch.run_stand_in import StandInRunner
from receiver.dispatch.run_target import SendClaim, TargetRunner, message_to
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.dispatch.threads import HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.errors import ConfigError
from receiver.housekeeping import keep_house
from receiver.model import Event, NewDelivery, is_stand_in
from receiver.notify import Notifier, channel_spec, routes
from receiver.notify.outbox import Outbox, channel_rules
from receiver.notify.redact import url_secrets
from receiver.notify.routes import RouteTable
from receiver.rate import Pace
from receiver.registry import Handler, Registry, load_handlers
from receiver.replay import Progress, Repeater, Replayer, take_over_abandoned
from receiver.retry import RetryOptions, RetryPolicy
from receiver.settings import Settings, sensitive_values
from receiver.settings.model import ClaribiSettings
from receiver.sources import build_sources
from receiver.store.base import Claim, Finish
from receiver.store.space import DiskSpace
from receiver.store.sqlite import Role, SqliteStore

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
        self.settings = settings
        self.store = store
        self.registry = registry
        self.notifier = Notifier(
            {name: channel_spec(channel) for name, channel in settings.channels.items()},
            home=settings.home,
            secrets=sensitive_values(settings) | _forward_secrets(settings),
        )
        self.forwards = build_forwards(
            settings.routes,
            schemes={name: source.scheme for name, source in build_sources(settings).items()}
            if any(route.forward for route in settings.routes)
            else {},
            redact=self.notifier.redactor.line,
        )
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
        has_claribi = settings.claribi.api_key is not None or settings.claribi.email is not None
        self.resources = SharedResources(
            store, frozenset(settings.channels), self._make_claribi if has_claribi else None
        )
        self.policies = HandlerPolicies(
            default=settings.dispatch.retry.over(RetryPolicy()),
            sources={name: source.retry for name, source in settings.sources.items()},
        )
        self.outbox = Outbox(
            self._target_deliveries,
            {name: channel_rules(channel) for name, channel in settings.channels.items()},
        )
        table = RouteTable(settings.routes)
        self.dispatcher = Dispatcher(
            store,
            self._make_lanes(table),
            lease_seconds=settings.dispatch.lease.total_seconds(),
            max_running=max_running,
            max_backlog=settings.store.max_backlog,
            redact=self.notifier.redactor,
        )
        self.planner = Planner(
            registry.matching,
            policies=self.policies,
            has_routes=table.matches,
            routes_name=routes.NAME,
            lane=self.dispatcher.lane,
            stand_ins=sorted({problem.stand_in for problem in registry.problems}),
        )
        store.on_dead = tell_of_dead(self.planner)
        store.fall_back = self._fall_back
        store.on_dead_told = self.dispatcher.expect
        self.intake = DispatchIntake(
            store,
            self.planner,
            self.dispatcher if settings.dispatch.enabled else None,
            self.dispatcher.backlog,
            self.space,
        )

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
            await self._take_up_stand_ins()
            self._watchdog.start()
            await self.dispatcher.start()
            self._warm_up = asyncio.create_task(self._warm_up_channels(), name="warm-up")
            releaser = Releaser(self.store, self.outbox, self.dispatcher.expect)
            self._releases = asyncio.create_task(releaser.run(), name="releases")
            self._replays = asyncio.create_task(
                take_over_abandoned(self.store, self.replayer()), name="abandoned-replays"
            )
        else:
            await self.dispatcher.heart.start()

    async def _take_up_stand_ins(self) -> None:
        """Give what came while a handler file was broken to its handlers."""
        waiting = await self.store.waiting()
        for name, handlers in self.registry.stood_in_for().items():
            if name in waiting:
                runner = StandInRunner(
                    handlers=handlers,
                    policies=self.policies,
                    store=self.store,
                    rules=self._rules(),
                )
                # One at a time, so that they stay in order of arrival.
                self.dispatcher.add_lane(Lane(name, runner, 1, is_limited=True))

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
        await self.notifier.close()
        for forward in self.forwards.values():
            await forward.close()
        await self.resources.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.store.close()

    def replayer(self, on_still: Callable[[Progress], None] = lambda _progress: None) -> Replayer:
        """Repeats stored events with these handlers, routes and channels."""
        return Replayer(self.store, self.repeater, wake=self.dispatcher.wake, on_still=on_still)

    @property
    def repeater(self) -> Repeater:
        """What stored events become with these handlers, routes and channels."""
        return Repeater(self.store, self.plan_again, self._find_target)

    def plan_again(self, event: Event) -> tuple[NewDelivery, ...]:
        """The handlers' deliveries that a stored event becomes when it is repeated.

        Nothing for a file that is broken: whoever repeats now does not mean some later day.
        """
        try:
            value = event.json
        except (ValueError, RecursionError):  # a signed body that was kept although it is no event
            value = {}
        values = value if isinstance(value, dict) else {}
        made = self.planner.plan(event.source, event.type).for_event(values)
        return tuple(new for new in made if not is_stand_in(new.name))

    def _find_target(self, name: str) -> NewDelivery | None:
        if name in self.forwards:
            return NewDelivery("target", name, forwarding.POLICY.attempts)
        try:
            return NewDelivery("target", name, self.notifier.retry_policy(name).attempts)
        except KeyError:
            return None

    def _make_claribi(self) -> "AsyncClariBI":
        """The API client of all handlers; webhooks that come in wake what waits in it."""
        from claribi import WebhookWaker  # noqa: PLC0415 - slow, and seldom used

        self.waker = waker = WebhookWaker()

        def listen(event_type: str, body: Mapping[str, Any]) -> None:
            data = body.get("data")
            if isinstance(data, dict):
                waker.wake(event_type, data)

        self.intake.listener = listen
        return claribi_client(self.settings.claribi, waker=waker)

    def _make_lanes(self, table: RouteTable) -> list[Lane]:
        lanes = [self._handler_lane(handler) for handler in self.registry.handlers]
        runner = RoutesRunner(
            table=table,
            outbox=self.outbox,
            rules=self._rules(),
        )
        lanes.append(Lane(routes.NAME, runner, self.settings.dispatch.concurrency))
        for targets in self.notifier.channels.values():
            lanes += [self._target_lane(name) for name in targets]
        lanes += [self._forward_lane(forward) for forward in self.forwards.values()]
        return lanes

    def _handler_lane(self, handler: Handler) -> Lane:
        dispatch = self.settings.dispatch
        runner = HandlerRunner(
            handler=handler,
            resources=self.resources,
            outbox=self.outbox,
            rules=self._rules(handler.retry),
            timeout_seconds=handler.timeout_seconds or dispatch.timeout.total_seconds(),
            threads=self._threads,
            watchdog=self._watchdog,
            abandon=self._abandon,
        )
        lane = Lane(
            handler.name,
            runner,
            handler.concurrency or (dispatch.concurrency if handler.is_async else dispatch.threads),
            pace=None if handler.rate is None else Pace(handler.rate),
            is_limited=handler.rate is not None or handler.concurrency is not None,
        )
        if not handler.is_async:
            lane.is_exhausted = lambda: self._threads.is_exhausted
        return lane

    def _abandon(self, claim: Claim, finish: Finish) -> None:
        # Lanes are made before the dispatcher that runs them.
        self.dispatcher.abandon(claim, finish)

    def _target_lane(self, name: str) -> Lane:
        target, channel = self.notifier.get(name), self.notifier.channel_of(name)
        rules = CircuitRules(
            failures=channel.circuit_failures, pause_seconds=channel.circuit_pause_seconds
        )
        return self._sending_lane(
            name,
            message_to(target),
            policy=self.notifier.retry_policy(name),
            circuit=TargetCircuit(name, rules) if channel.circuit_failures else None,
            concurrency=channel.concurrency,
            pace=target.pace,
        )

    def _forward_lane(self, forward: Forward) -> Lane:
        return self._sending_lane(
            forward.name,
            forward.send,
            policy=forwarding.POLICY,
            circuit=TargetCircuit(forward.name, forwarding.CIRCUIT),
            concurrency=forwarding.CONCURRENCY,
            pace=forward.pace,
        )

    def _sending_lane(
        self,
        name: str,
        send: SendClaim,
        *,
        policy: RetryPolicy,
        circuit: TargetCircuit | None,
        concurrency: int,
        pace: Pace,
    ) -> Lane:
        rules = RetryRules(policy=lambda _source: policy, redact=self.notifier.redactor.line)
        runner = TargetRunner(send=send, rules=rules, circuit=circuit)
        return Lane(name, runner, concurrency, pace=pace, circuit=circuit, is_limited=True)

    def _rules(self, own: RetryOptions = NOTHING_SET) -> RetryRules:
        """Of deliveries to a handler, `own` being what it says itself."""
        return RetryRules(
            policy=lambda source: self.policies.of(source, own), redact=self.notifier.redactor
        )

    def _fall_back(self, target: str) -> tuple[NewDelivery, ...]:
        """Where a message goes that is dead for this target; see `Store.fall_back`."""
        channel = self.settings.channels.get(target.partition("/")[0])
        if channel is None or channel.fallback is None:
            return ()
        return self._target_deliveries(channel.fallback)

    def _target_deliveries(self, channel: str) -> tuple[NewDelivery, ...]:
        return tuple(
            NewDelivery("target", name, self.notifier.retry_policy(name).attempts)
            for name in self.notifier.targets(channel)
        )


def _forward_secrets(settings: Settings) -> frozenset[str]:
    """What may be secret in the addresses that routes forward to."""
    urls = [route.forward.get_secret_value() for route in settings.routes if route.forward]
    return frozenset(part for url in urls for part in url_secrets(url))


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
