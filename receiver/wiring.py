"""All that is made from the settings and the handlers, in one piece.

A reload makes a whole new one off to the side and puts it in the old one's place. What has not
changed between the two is passed on as it is: a target keeps its thread, pace and circuit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.dispatch import Lane, forwarding
from receiver.dispatch.circuit import CircuitRules
from receiver.dispatch.ending import RetryRules
from receiver.dispatch.forwarding import Forward, build_forwards
from receiver.dispatch.intake import Planner
from receiver.dispatch.policies import NOTHING_SET, HandlerPolicies
from receiver.dispatch.resources import SharedResources
from receiver.dispatch.run_handler import Abandon, HandlerRunner
from receiver.dispatch.run_routes import RoutesRunner
from receiver.dispatch.run_stand_in import StandInRunner
from receiver.dispatch.run_target import SendClaim, TargetRunner, message_to
from receiver.dispatch.silencing import Silences
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.dispatch.threads import HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.model import Event, NewDelivery, is_stand_in
from receiver.notify import Notifier, channel_spec, routes
from receiver.notify.outbox import Outbox, channel_rules
from receiver.notify.redact import url_secrets
from receiver.notify.routes import RouteTable
from receiver.notify.streaks import StreakTable
from receiver.rate import Pace
from receiver.registry import Handler, Registry
from receiver.retry import RetryOptions, RetryPolicy
from receiver.settings import Settings, sensitive_values
from receiver.settings.model import ClaribiSettings
from receiver.sources import build_sources
from receiver.store.base import Store
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
        public_url=settings.server.public_url,
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
    make_claribi: "Callable[[ClaribiSettings], AsyncClariBI]"


class Wiring:
    """Handlers, routes and channels of one state of the settings."""

    def __init__(self, settings: Settings, registry: Registry, process: Process) -> None:
        """Raises ConfigError with all faults it can see without any I/O."""
        self.settings = settings
        self.registry = registry
        self._process = process
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
        templates = load_templates(settings)
        claribi = settings.claribi
        has_claribi = claribi.api_key is not None or claribi.email is not None
        self.resources = SharedResources(
            process.store,
            frozenset(settings.channels),
            (lambda: process.make_claribi(claribi)) if has_claribi else None,
            templates,
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

    def make_lanes(self) -> list[Lane]:
        """A lane for every handler, target and forward, and one for the routes."""
        lanes = [self._handler_lane(handler) for handler in self.registry.handlers]
        runner = RoutesRunner(
            table=self.table,
            outbox=self.outbox,
            rules=self._rules(),
            streaks=self.streaks,
            store=self._process.store,
        )
        lanes.append(Lane(routes.NAME, runner, self.settings.dispatch.concurrency))
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
            Lane(name, self._stand_in_runner(handlers), 1, is_limited=True)
            for name, handlers in self.registry.stood_in_for().items()
            if name in waiting
        ]

    async def close(self) -> None:
        """Stop using the targets, the addresses and the API."""
        await self.notifier.close()
        for forward in self.forwards.values():
            await forward.close()
        await self.resources.close()

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
        lane = Lane(
            handler.name,
            runner,
            handler.concurrency or (dispatch.concurrency if handler.is_async else dispatch.threads),
            pace=None if handler.rate is None else Pace(handler.rate),
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
            message_to(target, self.settings.server.public_url),
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

    def _target_deliveries(self, channel: str) -> tuple[NewDelivery, ...]:
        return tuple(
            NewDelivery("target", name, self.notifier.retry_policy(name).attempts)
            for name in self.notifier.targets(channel)
        )


def _forward_secrets(settings: Settings) -> frozenset[str]:
    """What may be secret in the addresses that routes forward to."""
    urls = [route.forward.get_secret_value() for route in settings.routes if route.forward]
    return frozenset(part for url in urls for part in url_secrets(url))
