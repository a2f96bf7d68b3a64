"""All that is made from the settings and the handlers, in one piece.

A reload makes a whole new one off to the side and puts it in the old one's place. What has not
changed between the two is passed on as it is: a target keeps its thread, pace and circuit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from receiver.acknowledge_link import AcknowledgeLinks
from receiver.dispatch import Lane, forwarding
from receiver.dispatch.circuit import CircuitRules
from receiver.dispatch.ending import RetryRules
from receiver.dispatch.forwarding import Forward, build_forwards
from receiver.dispatch.intake import Planner
from receiver.dispatch.lane import Runner
from receiver.dispatch.policies import NOTHING_SET, HandlerPolicies
from receiver.dispatch.resources import Clients, SharedResources
from receiver.dispatch.run_handler import Abandon, HandlerRunner
from receiver.dispatch.run_routes import RoutesRunner
from receiver.dispatch.run_stand_in import StandInRunner
from receiver.dispatch.run_target import SendClaim, TargetRunner, message_to
from receiver.dispatch.silencing import Silences
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.dispatch.threads import HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.model import Event, NewDelivery, is_stand_in
from receiver.notify import Notifier, Target, channel_spec, routes
from receiver.notify.outbox import Outbox, channel_rules
from receiver.notify.redact import url_secrets
from receiver.notify.routes import RouteTable
from receiver.notify.streaks import StreakTable
from receiver.rate import Pace
from receiver.registry import Handler, Registry
from receiver.retry import RetryOptions, RetryPolicy
from receiver.settings import Settings, sensitive_values
from receiver.settings.model import ClaribiSettings
from receiver.sources import Source, build_source
from receiver.store.base import Claim, Finish, Store
from receiver.templates.library import Templates

if TYPE_CHECKING:
    from claribi import AsyncClariBI

TEMPLATES_FOLDER = "config/templates"
"""Where a deployment has its own templates, relative to the home."""


def load_templates(settings: Settings) -> Templates:
    """The message templates of the settings; raises ConfigError with what is wrong in them."""
    return Templates(
        settings.path(TEMPLATES_FOLDER),
        zone=settings.notify.zone,
        public_url=settings.events_url,
    )


@dataclass(frozen=True, kw_only=True)
class Process:
    """What stays the same for as long as the process runs, whatever the settings become."""

    store: Store
    threads: HandlerThreads
    watchdog: Watchdog
    abandon: Abandon
    lane: Callable[[str], Lane | None]
    """The dispatcher's lane of that name."""
    links: AcknowledgeLinks
    make_claribi: "Callable[[ClaribiSettings], AsyncClariBI]"
    current: "Callable[[], Wiring]"
    """The wiring that is in force."""


class Wiring:
    """Handlers, routes and channels of one state of the settings."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        process: Process,
        before: "Wiring | None" = None,
    ) -> None:
        """Raises ConfigError with all faults it can see without any I/O.

        What is the same in `before` is taken from there.
        """
        self.settings = settings
        self.registry = registry
        self._process = process
        self._before = before
        self.running = 0
        """How many of its runs go on."""
        self.on_idle: Callable[[], None] | None = None
        """Called whenever the last of them has ended."""
        self.notifier: Notifier = Notifier(
            {name: channel_spec(channel) for name, channel in settings.channels.items()},
            home=settings.home,
            secrets=sensitive_values(settings) | _forward_secrets(settings),
            before=None if before is None else before.notifier,
        )
        has_forwards = any(route.forward for route in settings.routes)
        self.forwards: dict[str, Forward] = build_forwards(
            settings.routes,
            schemes={name: source.scheme for name, source in self.sources.items()}
            if has_forwards
            else {},
            redact=self.notifier.redactor.line,
            before=before.forwards if before is not None else {},
        )
        templates = load_templates(settings)
        self.resources = SharedResources(
            process.store, frozenset(settings.channels), self._clients(), templates
        )
        self.policies = HandlerPolicies(
            default=settings.dispatch.retry.over(RetryPolicy()),
            sources={name: source.retry for name, source in settings.sources.items()},
        )
        silences = Silences(process.store)
        self.outbox = Outbox(
            self._target_deliveries,
            {name: channel_rules(channel) for name, channel in settings.channels.items()},
            silenced=silences.silenced,
            catch_up=silences.catch_up,
            add_link=lambda message, event, now_ms: process.links.add(
                message, event, settings.server.public_url, now_ms
            ),
        )
        self.table = RouteTable(settings.routes, templates)
        self.streaks = StreakTable(settings.routes)
        self.planner = Planner(
            registry.matching,
            policies=self.policies,
            has_routes=self._has_routes,
            routes_name=routes.NAME,
            routes_order=self.streaks.order,
            lane=process.lane,
            stand_ins=sorted({problem.stand_in for problem in registry.problems}),
        )

        self.lanes = self._make_lanes()
        """A lane for every handler, target and forward, and one for the routes."""
        if before is not None:
            _ = self.sources  # what is wrong with them has to be seen now, and their paces kept
        self._before = None

    @property
    def parts(self) -> "tuple[Target | Forward | Clients, ...]":
        """What has to be closed once no wiring uses it."""
        return (*self.notifier.all_targets(), *self.forwards.values(), self.resources.clients)

    def _make_lanes(self) -> list[Lane]:
        lanes = [self._handler_lane(handler) for handler in self.registry.handlers]
        runner = RoutesRunner(
            table=self.table,
            outbox=self.outbox,
            rules=self._rules(),
            streaks=self.streaks,
            store=self._process.store,
        )
        lanes.append(self._lane(routes.NAME, runner, self.settings.dispatch.concurrency))
        for targets in self.notifier.channels.values():
            lanes += [self._target_lane(name) for name in targets]
        lanes += [self._forward_lane(forward) for forward in self.forwards.values()]
        return lanes

    async def stand_in_lanes(self) -> list[Lane]:
        """Lanes that give what came while a handler file was broken to its handlers.

        Raises StoreError.
        """
        waiting = await self._process.store.waiting()
        return [
            # One at a time, so that they stay in order of arrival.
            self._lane(name, self._stand_in_runner(handlers), 1, is_limited=True)
            for name, handlers in self.registry.stood_in_for().items()
            if name in waiting
        ]

    async def close(self) -> None:
        """Stop using the targets, the addresses and the API."""
        await self.notifier.close()
        for part in self.parts:
            await part.close()

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
        return tuple(
            # A replay changes no streak, so its routes need not wait for each other.
            new._replace(key=None) if new.name == routes.NAME else new
            for new in made
            if not is_stand_in(new.name)
        )

    def _has_routes(self, source: str, event_type: str) -> bool:
        return self.table.matches(source, event_type) or self.streaks.matches(source, event_type)

    def find_target(self, name: str) -> NewDelivery | None:
        """A delivery to the target or forward of that name; None if there is none (any more)."""
        if name in self.forwards:
            return NewDelivery("target", name, forwarding.POLICY.attempts)
        try:
            return NewDelivery("target", name, self.notifier.retry_policy(name).attempts)
        except KeyError:
            return None

    def fall_back(self, target: str) -> tuple[NewDelivery, ...]:
        """Where a message goes that is dead for this target; see `Store.fall_back`."""
        channel = self.settings.channels.get(target.partition("/")[0])
        if channel is None or channel.fallback is None:
            return ()
        return self._target_deliveries(channel.fallback)

    def _stand_in_runner(self, handlers: tuple[Handler, ...]) -> StandInRunner:
        return StandInRunner(
            handlers=handlers,
            policies=self.policies,
            store=self._process.store,
            rules=self._rules(),
        )

    def _handler_lane(self, handler: Handler) -> Lane:
        dispatch, threads = self.settings.dispatch, self._process.threads
        runner = HandlerRunner(
            handler=handler,
            resources=self.resources,
            outbox=self.outbox,
            rules=self._rules(handler.retry),
            timeout_seconds=handler.timeout_seconds or dispatch.timeout.total_seconds(),
            threads=threads,
            watchdog=self._process.watchdog,
            abandon=self._process.abandon,
        )
        lane = self._lane(
            handler.name,
            runner,
            handler.concurrency or (dispatch.concurrency if handler.is_async else dispatch.threads),
            pace=self._handler_pace(handler),
            is_limited=handler.rate is not None or handler.concurrency is not None,
        )
        if not handler.is_async:
            lane.is_exhausted = lambda: threads.is_exhausted
        return lane

    def _target_lane(self, name: str) -> Lane:
        target, channel = self.notifier.get(name), self.notifier.channel_of(name)
        rules = CircuitRules(
            failures=channel.circuit_failures, pause_seconds=channel.circuit_pause_seconds
        )
        return self._sending_lane(
            name,
            message_to(target, self.settings.events_url),
            policy=self.notifier.retry_policy(name),
            circuit=self._circuit(name, rules, target) if channel.circuit_failures else None,
            concurrency=channel.concurrency,
            pace=target.pace,
        )

    def _forward_lane(self, forward: Forward) -> Lane:
        return self._sending_lane(
            forward.name,
            forward.send,
            policy=forwarding.POLICY,
            circuit=self._circuit(forward.name, forwarding.CIRCUIT, forward),
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
        return self._lane(name, runner, concurrency, pace=pace, circuit=circuit, is_limited=True)

    def _lane(self, name: str, runner: Runner, limit: int, **more: Any) -> Lane:
        return Lane(name, partial(self._run, runner), limit, **more)

    async def _run(self, runner: Runner, claim: Claim) -> Finish:
        """Run it, and keep count, so that what it uses is closed only when it has ended."""
        self.running += 1
        try:
            return await runner(claim)
        finally:
            self.running -= 1
            if self.running == 0 and self.on_idle is not None:
                self.on_idle()

    # -- passed on from the one before ----------------------------------------------------------

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The senders, by name. Whoever only looks at what is stored may lack their secrets."""
        paces: dict[str, Pace] = {}
        if self._before is not None:
            sources = self._before.settings.sources
            paces = {
                name: source.pace
                for name, source in self._before.sources.items()
                if name in self.settings.sources
                and self.settings.sources[name].rate == sources[name].rate
            }
        return {
            name: build_source(name, source, paces.get(name))
            for name, source in self.settings.sources.items()
        }

    def _clients(self) -> Clients:
        claribi = self.settings.claribi
        if self._before is not None and self._before.settings.claribi == claribi:
            return self._before.resources.clients
        return Clients(
            (lambda: self._process.make_claribi(claribi)) if claribi.has_account else None
        )

    def _handler_pace(self, handler: Handler) -> Pace | None:
        if handler.rate is None:
            return None
        known = None if self._before is None else self._before.registry.get(handler.name)
        lane = self._process.lane(handler.name) if known is not None else None
        if known is not None and known.rate == handler.rate and lane is not None and lane.pace:
            return lane.pace
        return Pace(handler.rate)

    def _circuit(self, name: str, rules: CircuitRules, sender: "Target | Forward") -> TargetCircuit:
        if self._before is None:
            return TargetCircuit(name, rules)
        if not any(part is sender for part in self._before.parts):
            return TargetCircuit(name, rules, is_anew=True)
        lane = self._process.lane(name)
        if lane is not None and lane.circuit is not None and lane.circuit.rules == rules:
            return lane.circuit
        return TargetCircuit(name, rules)

    def _rules(self, own: RetryOptions = NOTHING_SET) -> RetryRules:
        """Of deliveries to a handler, `own` being what it says itself."""
        return RetryRules(
            policy=lambda source: self.policies.of(source, own), redact=self.notifier.redactor
        )

    def _target_deliveries(self, channel: str) -> tuple[NewDelivery, ...]:
        # A run that has outlived a reload speaks to the channel as it is now, while there is one.
        now = self._process.current().notifier
        notifier = now if channel in now.channels else self.notifier
        return tuple(
            NewDelivery("target", name, notifier.retry_policy(name).attempts)
            for name in notifier.targets(channel)
        )


def _forward_secrets(settings: Settings) -> frozenset[str]:
    """What may be secret in the addresses that routes forward to."""
    urls = [route.forward.get_secret_value() for route in settings.routes if route.forward]
    return frozenset(part for url in urls for part in url_secrets(url))
