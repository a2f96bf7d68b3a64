"""What the dispatcher's tests are made of: events, lanes of real handlers, and waiting."""

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from receiver import on
from receiver.dispatch import Dispatcher, DispatchIntake, Lane
from receiver.dispatch.ending import Ending, RetryRules
from receiver.dispatch.intake import Planner
from receiver.dispatch.lane import Runner
from receiver.dispatch.policies import HandlerPolicies
from receiver.dispatch.resources import Clients, SharedResources
from receiver.dispatch.run_handler import HandlerRunner
from receiver.dispatch.run_target import TargetRunner, message_to
from receiver.dispatch.target_circuit import TargetCircuit
from receiver.dispatch.threads import HandlerThreads
from receiver.dispatch.watchdog import Watchdog
from receiver.model import (
    Attempt,
    Delivery,
    DeliveryId,
    Message,
    NewDelivery,
    NewEvent,
    Outcome,
    State,
)
from receiver.notify import SendResult
from receiver.notify.outbox import Outbox
from receiver.rate import Pace
from receiver.registry.handler import Handler, make_handlers
from receiver.retry import RetryPolicy
from receiver.store.base import Claim, Finish, StagedMessage, Store
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore
from receiver.templates.library import Templates

TYPE = "data_source.sync_failed"
SECRET = "made-up-secret-of-the-tests"
QUICK = (0.001,)
POLICY = RetryPolicy(waits=QUICK)
RULES = RetryRules(policy=lambda _source: POLICY, redact=lambda text: text.replace(SECRET, "***"))
TARGET = "ops/1-test"

_counter = itertools.count()
_dispatchers: dict[Store, Dispatcher] = {}
"""Those that run, for their handlers' runs to be abandoned in."""


def event(body: dict[str, Any] | None = None, **changes: Any) -> NewEvent:
    body = {"event": TYPE, "data": {}} if body is None else body
    now = int(time.time() * 1000)
    key = hashlib.sha256(b"%d" % next(_counter)).digest()
    raw = json.dumps(body).encode()
    new = NewEvent(new_event_id(now), "claribi", TYPE, now, raw, "host: a", None, 0, key)
    return new._replace(**changes)


async def send(
    store: Store,
    *names: str,
    attempts: int = 8,
    key: str | None = None,
    steps_aside: bool = False,
    **changes: Any,
) -> DeliveryId:
    """Record an event with a delivery per name, unclaimed; the first one's number."""
    made = [NewDelivery("handler", name, attempts, key, steps_aside=steps_aside) for name in names]
    return (await store.record(event(**changes), made)).delivery_ids[0]


def handler_of(func: Callable[..., Any], **options: Any) -> Handler:
    (handler,) = make_handlers(on(TYPE, name="h.test", **options)(func), "h")
    return handler


def handler_lane(
    store: SqliteStore,
    func: Callable[..., Any],
    *,
    limit: int = 8,
    timeout_seconds: float = 5.0,
    threads: HandlerThreads | None = None,
    watchdog: Watchdog | None = None,
    rules: RetryRules = RULES,
) -> Lane:
    threads = threads or HandlerThreads(1)

    def abandon(claim: Claim, finish: Finish) -> None:
        _dispatchers[store].abandon(claim, finish)

    runner = HandlerRunner(
        handler=handler_of(func),
        resources=SharedResources(store, {"ops"}, Clients(None), Templates()),
        outbox=Outbox(lambda _channel: (NewDelivery("target", TARGET, 3),), {}),
        rules=rules,
        timeout_seconds=timeout_seconds,
        threads=threads,
        watchdog=watchdog or Watchdog([]),
        abandon=abandon,
    )
    return Lane("h.test", runner, limit, is_exhausted=lambda: threads.is_exhausted)


def lane(run: Callable[[Claim], Awaitable[Finish]], name: str = "h.test", limit: int = 8) -> Lane:
    return Lane(name, run, limit)


async def succeed(claim: Claim) -> Finish:
    return Ending(claim, RULES).succeeded()


def recording(seen: list[Claim]) -> Runner:
    """A runner that succeeds and keeps what it ran."""

    async def run(claim: Claim) -> Finish:
        seen.append(claim)
        return await succeed(claim)

    return run


@asynccontextmanager
async def dispatching(store: Store, *lanes: Lane, **options: Any) -> AsyncIterator[Dispatcher]:
    dispatcher = _dispatchers[store] = Dispatcher(store, lanes, **options)
    await dispatcher.start()
    try:
        yield dispatcher
    finally:
        await dispatcher.stop(0.0)
        del _dispatchers[store]


async def until(is_so: Callable[[], Any], *, seconds: float = 5.0) -> None:
    """Wait for a condition; a test whose condition does not come fails by its deadline."""
    async with asyncio.timeout(seconds):
        while True:
            found = is_so()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.002)


async def in_state(store: Store, delivery_id: int, *states: State) -> Delivery:
    """The delivery, once it is in one of the states; in a final one if none is given."""
    found: list[Delivery] = []

    async def is_there() -> bool:
        delivery = await store.delivery(delivery_id)
        assert delivery is not None
        found[:] = [delivery]
        return delivery.state in states if states else delivery.state.is_final

    await until(is_there)
    return found[0]


async def run_one(store: SqliteStore, func: Callable[..., Any], *, attempts: int = 3,
                  timeout_seconds: float = 5.0, **changes: Any,
) -> tuple[Delivery, Sequence[Attempt]]:  # fmt: skip
    """A handler's delivery, run to its end, and its attempts."""
    one = handler_lane(store, func, timeout_seconds=timeout_seconds)
    async with dispatching(store, one):
        delivery_id = await send(store, "h.test", attempts=attempts, **changes)
        delivery = await in_state(store, delivery_id)
    return delivery, await store.attempts(delivery_id)


class Gate:
    """A runner that holds every run until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running = 0
        self.most = 0

    async def __call__(self, claim: Claim) -> Finish:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        return await succeed(claim)


def intake_of(
    store: SqliteStore, dispatcher: Dispatcher, func: Callable[..., Any], *, max_backlog: int = 100
) -> DispatchIntake:
    handlers = make_handlers(func, "h")
    planner = Planner(
        lambda _type: handlers,
        policies=HandlerPolicies(default=RetryPolicy(), sources={}),
        has_routes=lambda _source, _type: False,
        routes_name="routes",
        lane=dispatcher.lane,
    )
    dispatcher.backlog.most = max_backlog
    return DispatchIntake(store, planner, dispatcher, dispatcher.backlog)


def on_test(**options: Any) -> Callable[..., Any]:
    def test(event: dict[str, Any]) -> None: ...

    return on("*", name="h.test", **options)(test)


class Answers:
    """A target that gives one answer after the other."""

    name = "ops/1-test"

    def __init__(self, *results: SendResult) -> None:
        self.results = list(results)
        self.pace = Pace(None)
        self.sent = 0
        self.hangs = asyncio.Event()

    async def send(self, _message: Message) -> SendResult:
        self.sent += 1
        if not self.results:
            self.hangs.set()
            await asyncio.Event().wait()
        return self.results.pop(0)

    async def close(self) -> None:
        """Nothing to close."""


async def send_message(store: SqliteStore, *, attempts: int = 3) -> int:
    """A message to `ops/1-test`, as a handler's success leaves it; its delivery's number."""
    await send(store, "h.says")
    (claim,) = await store.claim({"h.says": 1}, now_ms=10**13)
    staged = StagedMessage(
        Message(channel="ops", title="t", body="b"),
        (NewDelivery("target", Answers.name, attempts),),
    )
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).succeeded(messages=(staged,)), told.set_result)
    assert await told is None
    return (await store.deliveries_of(claim.event.id))[1].id


def target_lane(target: Answers, *, limit: int = 1, circuit: TargetCircuit | None = None) -> Lane:
    runner = TargetRunner(send=message_to(target), rules=RULES, circuit=circuit)
    return Lane(target.name, runner, limit, target.pace, circuit, is_limited=True)


DELIVERED = SendResult(outcome=Outcome.DELIVERED, status_code=200)
