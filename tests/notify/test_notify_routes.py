"""Routes: which events they speak of, and what is kept about those that they pass over."""

from datetime import UTC, datetime

import pytest

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
