"""What `clarihook route` says and what a server does agree, for any event and any settings.

Both go their whole way, after some other events: the dry run through a read-only store, the event
through a real engine and a real SQLite file, where the deliveries that it left are looked at.
"""

import asyncio
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from receiver.cli.dry_run import dry_run
from receiver.engine import Engine, load_registry
from receiver.model import Delivery, Event, Message, NewEvent, Silence, State, from_ms, to_ms
from receiver.settings import Settings
from receiver.store.configured import open_store
from receiver.store.ids import new_event_id

CHANNELS = ["ops", "night", "grouped", "scarce"]
TYPES = ["billing.credits_low", "billing.paid", "report.generated"]
NOW = datetime.now(UTC)
SECRET = "whsec_bWFkZS11cC1zZWNyZXQtZm9yLXRlc3RzISEh"


def hours(first: int, last: int) -> dict[str, str]:
    """Quiet hours that begin and end so many hours from now."""
    moments = (NOW + timedelta(hours=each) for each in (first, last))
    return dict(zip(("from", "until"), (f"{moment:%H:%M}" for moment in moments), strict=True))


AROUND, ELSEWHEN = hours(-2, 2), hours(4, 6)
QUIET = st.sampled_from([None, AROUND, ELSEWHEN, {**AROUND, "unless": "warning"}])
NOISE = st.sampled_from(
    [{}, {"group_by": ["type"], "wait": "1h"}, {"throttle": "2/h", "throttle_by": ["source"]}]
)
CHANNEL = st.builds(
    lambda name, urls, quiet, noise: {
        "urls": [f"file://data/{name}{number}.jsonl" for number in range(urls)],
        **({"quiet_hours": quiet} if quiet else {}), **noise,
    },
    st.sampled_from("abc"), st.integers(1, 2), QUIET, NOISE,
)  # fmt: skip
ROUTE = st.fixed_dictionaries(
    {
        "match": st.sampled_from(["*", "billing.*", "report.generated", "nothing.*"]),
        "notify": st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True),
        "severity": st.sampled_from(["info", "warning", "critical"]),
    },
    optional={
        "source": st.sampled_from(["claribi", "other"]),
        "continue": st.booleans(),
        "escalate": st.just([{"after": "1h", "notify": ["ops", "night"]}]),
        "group_by": st.sampled_from([["type"], []]),
        "when": st.sampled_from(
            ["event.data.n < 3", "source == 'claribi'", "event.data.none > 1", "event.data.n"]
        ),
        "title": st.sampled_from(["n is {{ event.data.n }}", "{{ event.data.none.none }}"]),
        "body": st.sampled_from(["{{ event_id }} <b>", "{% for x in event.data.n %}{% endfor %}"]),
        # Nothing listens there, nor may it: that it would have been sent is what counts.
        "forward": st.just("http://127.0.0.1:9/"),
    },
)
WATCH = st.fixed_dictionaries(
    {
        "match": st.just("billing.credits_low"),
        "resolve": st.sampled_from(["billing.paid", "billing.*"]),
        "resolve_by": st.sampled_from(["data.n", "data.none"]),
        "notify": st.just(["ops"]),
    }
)
SILENCE = st.fixed_dictionaries(
    {
        "channels": st.lists(st.sampled_from([*CHANNELS, "n*"]), max_size=2).map(tuple),
        "types": st.sampled_from([(), ("billing.*",), ("report.*",)]),
        "severities": st.sampled_from([(), ("info",)]),
    }
)
EVENT = st.tuples(
    st.sampled_from(TYPES), st.sampled_from(["claribi", "other"]),
    st.sampled_from([1, 2, 4, "x", "\N{SNOWMAN}"]),
)  # fmt: skip

PLAIN = {"urls": ["file://data/plain.jsonl"]}
Fate = tuple[Any, ...]


@given(
    st.lists(CHANNEL, min_size=4, max_size=4),
    st.builds(list.__add__, st.lists(ROUTE, max_size=5), st.lists(WATCH, max_size=2)),
    st.lists(EVENT, max_size=3), EVENT, st.none() | SILENCE,
)  # fmt: skip
@example(
    [PLAIN] * 4,
    [{"match": "billing.credits_low", "resolve": "billing.paid", "resolve_by": "data.n",
      "notify": ["ops"]},
     {"match": "*", "notify": ["night"], "forward": "http://127.0.0.1:9/"}],
    [("billing.credits_low", "claribi", 1)] * 2, ("billing.paid", "claribi", 1), None,
)  # fmt: skip
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_dry_run_and_dispatch_agree(
    channels: list[Any], routes: list[Any], before: list[Any], event: tuple[Any, ...], silence: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_dict(
            {
                "sources": {
                    name: {"scheme": "claribi", "secrets": ["a made-up secret for tests"]}
                    for name in ("claribi", "other")
                },
                "channels": dict(zip(CHANNELS, channels, strict=True)),
                "routes": [
                    {**each, "forward_secret": SECRET} if "forward" in each else each
                    for each in routes
                ],
                "handlers": {"paths": []},
            },
            home=folder,
        )
        foretold, real = asyncio.run(both(settings, before, event, silence))
    assert foretold == real


async def both(
    settings: Settings, before: list[Any], event: tuple[Any, ...], silence: Any
) -> tuple["Counter[Fate]", "Counter[Fate]"]:
    engine = Engine(settings, open_store(settings, role="owner"), load_registry(settings))
    await engine.start()
    try:
        for number, each in enumerate(before):
            await settled(engine, await accept(engine, number, each))
        if silence is not None:
            await engine.store.add_silence(
                Silence(created_at=NOW, until=NOW + timedelta(hours=8), author="a", comment="c",
                        **silence)
            )  # fmt: skip
        new = made(len(before), event)
        about = Event(id=new.id, seq=0, source=new.source, type=new.type,
                      received_at=from_ms(new.received_ms), body=new.body)  # fmt: skip
        async with dry_run(settings) as dry:
            foretold = await dry.foretell(about, to_ms(datetime.now(UTC)))
        await engine.intake.accept(new, json.loads(new.body))
        deliveries = await settled(engine, new.id)
        said = {
            each.message_id: await engine.store.message(each.message_id)
            for each in deliveries
            if each.message_id is not None
        }
    finally:
        await engine.stop()
    expected = Counter(
        fate(message, each.name, each.hold.kind if each.hold else None,
             each.hold.until_ms if each.hold else None)
        for message, news in foretold.staged for each in news
    )  # fmt: skip
    forwards = [each.verdict.forward for each in foretold.rulings]
    expected += Counter(fate(each, each.channel, None, None) for each in forwards if each)
    real = Counter(
        fate(said[each.message_id], each.name, *held(each))
        for each in deliveries
        if each.kind == "target"
    )
    return expected, real


def made(number: int, event: tuple[Any, ...]) -> NewEvent:
    type_, source, n = event
    received_ms = to_ms(datetime.now(UTC))
    body = json.dumps({"event": type_, "data": {"n": n}}).encode()
    return NewEvent(new_event_id(received_ms), source, type_, received_ms, body, "", None, 0,
                    bytes([number]) * 32)  # fmt: skip


async def accept(engine: Engine, number: int, event: tuple[Any, ...]) -> str:
    new = made(number, event)
    await engine.intake.accept(new, json.loads(new.body))
    return new.id


async def settled(engine: Engine, event_id: str) -> list[Delivery]:
    """The event's deliveries once all have ended or are held."""
    async with asyncio.timeout(30):
        while True:
            found = await engine.store.deliveries_of(event_id)
            if all(each.state.is_final or each.state is State.HELD for each in found):
                return found
            await asyncio.sleep(0.005)


def held(delivery: Delivery) -> tuple[str | None, int | None]:
    """What the store says that holds it, and until when."""
    if delivery.state is not State.HELD:
        is_forward = delivery.name.startswith("forward/")
        assert delivery.state is (State.DEAD if is_forward else State.SUCCEEDED), delivery.reason
        return None, None
    return delivery.hold_kind, to_ms(delivery.due_at)


def fate(message: Message | None, target: str, kind: str | None, until_ms: int | None) -> Fate:
    """What is compared. A throttle's first ones go out; a group's end is the store's to decide."""
    assert message is not None
    kind = None if kind == "throttle" else kind
    text = (message.title, message.body, tuple(sorted(message.bodies.items())), message.severity)
    ends = until_ms if kind in ("quiet", "silence") else None
    return (target, text, kind, ends)
