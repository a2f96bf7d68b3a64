"""Routes: which events they speak of, and what is kept about those that they pass over."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.model import Event, EventId
from receiver.notify.routes import RouteTable
from receiver.settings import RouteSettings

TABLE = RouteTable(
    [RouteSettings(match="billing.*", when="event.data.remaining < 100", notify=("ops",))]
)


def event(body: bytes) -> Event:
    return Event(
        id=EventId("evt_1"),
        seq=1,
        source="claribi",
        type="billing.credits_low",
        received_at=datetime.now(UTC),
        body=body,
    )


def test_a_route_speaks_when_its_condition_holds() -> None:
    routed = TABLE.route(event(b'{"data": {"remaining": 99}}'))
    assert [message.channel for message in routed.messages] == ["ops"]
    assert routed.notes == ()


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b'{"data": {"remaining": 100}}', "route 1: `when` is false"),
        (b'{"data": {}}', "route 1: `when` could not be decided: there is no field 'remaining'"),
        (b'{"data": {"remaining": "few"}}', "route 1: `when` could not be decided: "),
    ],
)
def test_a_route_that_says_nothing_says_why(body: bytes, note: str) -> None:
    routed = TABLE.route(event(body))
    assert routed.messages == ()
    assert len(routed.notes) == 1
    assert routed.notes[0].startswith(note)


def test_a_route_that_does_not_continue_ends_the_list_once_it_has_matched() -> None:
    """The condition has to hold too: a route that says nothing ends nothing."""
    table = RouteTable(
        [
            RouteSettings(
                name="nearly-none",
                when="event.data.remaining < 10",
                notify=("oncall",),
                **{"continue": False},
            ),
            RouteSettings(match="billing.*", notify=("ops",)),
        ]
    )
    for remaining, channels, why in ((5, ["oncall"], True), (50, ["ops"], False)):
        one = event(b'{"data": {"remaining": %d}}' % remaining)
        assert [message.channel for message in table.route(one).messages] == channels
        ended = "route nearly-none ended the list (continue = false)"
        assert (table.explain(one)[1].refusal == ended) is why
    assert table.route(event(b'{"data": {"remaining": 50}}')).notes == (
        "route nearly-none: `when` is false",
    )


SOURCES = ["claribi", "github"]
TYPES = ["billing.credits_low", "billing.paid", "report.generated"]
ROUTE = st.builds(
    RouteSettings,
    match=st.sampled_from(["*", "billing.*", "report.generated", "nothing"]),
    source=st.sampled_from([None, *SOURCES]),
    when=st.sampled_from([None, "event.data.remaining < 100", "source == 'github'", "1"]),
    **{"continue": st.booleans()},
    notify=st.lists(st.sampled_from(["ops", "finance"]), min_size=1, unique=True).map(tuple),
    title=st.sampled_from([None, "{{ event.data.remaining }} left", "{{ event.missing.deep }}"]),
)


@settings(max_examples=100, deadline=None)
@given(
    routes=st.lists(ROUTE, max_size=4),
    kind=st.sampled_from(TYPES),
    source=st.sampled_from(SOURCES),
    data=st.dictionaries(st.just("remaining"), st.integers(0, 200) | st.text(max_size=3)),
)
def test_what_is_explained_is_what_is_said(
    routes: list[RouteSettings], kind: str, source: str, data: dict[str, object]
) -> None:
    """For any event and any routes, the dry run and the real one agree."""
    table = RouteTable(routes)
    one = replace(event(json.dumps({"data": data}).encode()), type=kind, source=source)
    verdicts, routed = table.explain(one), table.route(one)
    assert len(verdicts) == len(routes)
    assert tuple(m for verdict in verdicts for m in verdict.messages) == routed.messages
    assert table.matches(source, kind) == any(verdict.is_for_event for verdict in verdicts)
    said = [
        f"route {verdict.label}: {note}"
        for verdict in verdicts
        if verdict.is_for_event
        for note in ([verdict.refusal] if verdict.refusal else verdict.notes)
    ]
    assert tuple(said) == routed.notes
