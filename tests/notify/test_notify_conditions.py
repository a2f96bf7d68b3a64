"""Conditions: what they see of an event, and that none takes long however large a body is."""

import doctest
import json
from datetime import UTC, datetime
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.model import Event, EventId
from receiver.notify import condition as conditions
from receiver.notify import facts as what_is_seen
from receiver.notify.condition import Condition
from receiver.notify.facts import Facts, paths_in, shortest
from receiver.notify.routes import RouteTable
from receiver.settings import RouteSettings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def event(body: Any) -> Event:
    return Event(
        id=EventId("evt_1"),
        seq=1,
        source="claribi",
        type="t",
        received_at=NOW,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def large(count: int, **more: Any) -> Event:
    return event({"data": {"id": 7, "items": [{"i": n} for n in range(count)], **more}})


EXPRESSIONS = [
    "event.data.a == 1", "event . data\n. a > 0", "has(event.data.a)", "has(event.data.b.c)",
    "event.data.b.c == 1 || event.data.a == 1", "'a' in event.data", "event.data.size() == 1",
    "size(event) > 1", "event['data'].a == 1", "event.data['a'] == 1", "event == {'data': 1}",
    "event.data.exists(k, k == 'a')", "event.data.all(k, event.data[k] == 1)", ".event.data.a == 1",
    "event.data.b.all(x, x > 0)", "event.data.b.startsWith('x')", "event // it\n.data.a == 1",
    "event.event.a == 1", "has(event.a) ? event.a == 1 : event.data.a == 1", "source == 'claribi'",
    "event.data.b.event == 1", "[event.data].exists(event, event.a == 1)", "event.data == event",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["x", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "data", "event"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(expressions=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=4), body=VALUES)
def test_what_is_cut_out_decides_as_the_whole_body_does(
    expressions: list[str], body: object
) -> None:
    """Whichever conditions share the facts, and whatever the body is."""
    whole = {"event": body, "source": "claribi", "received_at": NOW}
    conditions = [Condition(each) for each in expressions]
    facts = Facts(event(body), shortest([path for each in conditions for path in each.paths]))
    for condition in conditions:
        try:
            result = cel.compile(condition.text).execute(whole)
        except Exception as error:
            refusal = condition.refusal_by(facts) or ""
            cause = f"there is no field {error}" if isinstance(error, KeyError) else ""
            assert refusal.startswith(f"could not be decided: {cause}")
        else:
            said = {True: None, False: "is false"}.get(
                result, f"gave {result!r}, not true or false"
            )
            assert condition.refusal_by(facts) == said


def test_the_examples_hold() -> None:
    assert doctest.testmod(conditions).failed == doctest.testmod(what_is_seen).failed == 0


def test_only_what_is_named_is_looked_at() -> None:
    assert paths_in("event.data.a < 1 && event.data.b.c.size() > 1 && source == ''") == {
        ("data", "a"), ("data", "b", "c"),
    }  # fmt: skip
    assert Condition("event.data.id == 7").refusal(large(200_000)) is None


@pytest.mark.parametrize(
    ("expression", "most"),
    [
        ("event.data.items.exists(x, x.i == -1)", 9_000),
        ("event.data.items.exists(x, x.i == -1) || event.data.items.exists(y, y.i == -2)", 9_000),
        ("!event.data.items.all(x, event.data.items.all(y, y.i >= 0 || x.i < 0))", 200),
        ("size(event.data.items.filter(x, x.i > 3)) < 0", 200),
        ("!event.data.items.map(x, event.data.items).all(l, l.all(y, y.i >= 0))", 4),
        ("!event.data.items.all(x, x in event.data.items)", 200),
        ("event.data.items.exists(x, event.data.items == event.data.items && x.i < 0)", 200),
        (
            "!event.data.items.all(x, x.i > -1 || ')' == '(' && event.data.items.all(y, y.i > 1))",
            200,
        ),
        ("size(event.data.items.map(x, event.data.items + event.data.items)) < 0", 4),
        ("event.data == {}", 9_000),
    ],
    ids=["one", "beside", "nested", "made", "three", "in", "compared", "in-text", "joined", "none"],
)
def test_a_condition_that_would_take_long_is_not_decided(expression: str, most: int) -> None:
    """What costs the square or the cube of a list is bounded by the root of it."""
    condition = Condition(expression)
    assert condition.refusal(large(most)) == "is false"
    for count in (10 * most, 60_000):
        refusal = condition.refusal(large(count)) or ""
        assert refusal.startswith("could not be decided: it ")
        assert " values" in refusal


def test_a_long_text_within_a_loop_counts() -> None:
    condition = Condition("event.data.items.exists(x, event.data.log.matches('(a|aa)+$'))")
    assert condition.refusal(large(1_000, log="b" * 10_000)) == "is false"
    assert "steps" in (condition.refusal(large(1_000, log="b" * 1_000_000)) or "")


def test_one_that_looks_at_too_much_keeps_no_other_from_its_decision() -> None:
    routes = [
        RouteSettings(when="event.data.items.exists(x, x.i == -1)", notify=("a",)),
        RouteSettings(when="event.data.id == 7", notify=("b",)),
        RouteSettings(when="event.data.few.exists(x, x == 2)", notify=("c",)),
        RouteSettings(when="'id' in event.data", notify=("d",)),
    ]
    routed = RouteTable(routes).route(large(100_000, few=[1, 2]))
    assert [message.channel for message in routed.messages] == ["b", "c"]
    many = "`when` could not be decided: it looks at more than 20,000 values"
    assert routed.notes == (f"route 1: {many}", f"route 4: {many}")
