"""Streaks: what opens, lengthens and closes them, and what is said then."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import ConfigError
from receiver.model import Event, EventId, Severity
from receiver.notify.streaks import StreakTable, Told, incident
from receiver.settings import RouteSettings, Settings

FAILED, COMPLETED = "data_source.sync_failed", "data_source.sync_completed"
START = datetime(2026, 7, 1, 10, tzinfo=UTC)
ROUTE = RouteSettings(
    name="syncs", match=FAILED, notify=("ops",), resolve=COMPLETED,
    resolve_by="data.data_source_id",
)  # fmt: skip


def event(type_: str, data: object, *, minutes: float = 0, source: str = "claribi") -> Event:
    at = START + timedelta(minutes=minutes)
    body = {"event": type_, "timestamp": at.isoformat(), "data": data}
    return Event(id=EventId("evt_1"), seq=1, source=source, type=type_, received_at=START,
                 body=json.dumps(body).encode())  # fmt: skip


class Kept:
    """The store's part: keeps what each event has changed."""

    def __init__(self, *routes: RouteSettings) -> None:
        self.table = StreakTable(routes or [ROUTE])
        self.values: dict[str, str] = {}

    def __call__(self, one: Event, *spoke: int, replay: bool = False) -> Told:
        kept = {key: self.values.get(key) for key in self.table.keys(one)}
        told = self.table.tell(one, spoke or (1,), None if replay else kept)
        for key, value in told.values.items():
            if value is None:
                del self.values[key]
            else:
                self.values[key] = value
        return told


def test_a_recovery_says_how_long_it_took_and_how_often_it_failed() -> None:
    kept = Kept()
    data = {"data_source_id": 4, "data_source_name": "Warehouse"}
    for minutes in (0, 15, 30):
        assert kept(event(FAILED, data, minutes=minutes)).messages == ()
    told = kept(event(COMPLETED, data, minutes=42))
    (message,) = told.messages
    assert message.title == "Warehouse recovered after 42 minutes, 3 failures"
    assert message.channel == "ops"
    assert message.severity is Severity.SUCCESS
    assert message.body.splitlines() == [
        "First failure: 2026-07-01 10:00:00 UTC",
        "Last failure: 2026-07-01 10:30:00 UTC",
        f"Recovered: 2026-07-01 10:42:00 UTC, by {COMPLETED}",
    ]
    assert kept.values == {}
    assert told.recovered == (incident(ROUTE, 1, event(FAILED, data)),)


def test_without_a_streak_nothing_is_said_but_a_note() -> None:
    told = Kept()(event(COMPLETED, {"data_source_id": 4}))
    assert told == Told(notes=(
        "route syncs: nothing had failed of data.data_source_id 4, so nothing has recovered",
    ))  # fmt: skip


def test_each_value_and_each_source_has_a_streak_of_its_own() -> None:
    kept = Kept()
    kept(event(FAILED, {"data_source_id": 4}))
    assert kept(event(COMPLETED, {"data_source_id": 5})).messages == ()
    assert kept(event(COMPLETED, {"data_source_id": 4}, source="other")).messages == ()
    (message,) = kept(event(COMPLETED, {"data_source_id": 4}, minutes=1)).messages
    assert message.title == "data source 4 recovered after 1 minute, 1 failure"


def test_only_what_the_route_has_spoken_of_counts() -> None:
    kept = Kept()
    kept(event(FAILED, {"data_source_id": 4}), 2)
    assert kept.values == {}


def test_a_replay_changes_no_streak_and_announces_no_recovery() -> None:
    kept = Kept()
    kept(event(FAILED, {"data_source_id": 4}))
    before = dict(kept.values)
    assert kept(event(FAILED, {"data_source_id": 4}), replay=True) == Told()
    told = kept(event(COMPLETED, {"data_source_id": 4}), replay=True)
    assert told == Told(notes=("route syncs: a replay leaves the streaks as they are",))
    assert kept.values == before


@pytest.mark.parametrize("data", [{}, {"data_source_id": None}, {"data_source_id": [4]}, None, 4])
def test_an_event_without_the_value_is_part_of_no_streak_and_says_so(data: object) -> None:
    kept = Kept()
    for type_ in (FAILED, COMPLETED):
        told = kept(event(type_, data))
        assert told.notes == (
            "route syncs: there is no value at data.data_source_id, so it is part of no streak",
        )
    assert kept.table.order("claribi", FAILED)({"data": data}) is None  # type: ignore[misc]


def test_the_recovery_wins_where_match_has_it_too() -> None:
    kept = Kept(ROUTE.model_copy(update={"match": "data_source.*"}))
    kept(event(FAILED, {"data_source_id": 4}))
    assert len(kept(event(COMPLETED, {"data_source_id": 4})).messages) == 1
    assert kept.values == {}


def test_events_are_ordered_by_value_only_where_a_recovery_is_looked_for() -> None:
    table = StreakTable([ROUTE, RouteSettings(match="billing.*", notify=("ops",))])
    body = {"data": {"data_source_id": 4}}
    assert table.order("claribi", "billing.credits_low") is None
    keys = [order(body) for t in (FAILED, COMPLETED) if (order := table.order("claribi", t))]
    assert keys == ["claribi:4", "claribi:4"]
    other = ROUTE.model_copy(update={"resolve_by": "data.name", "name": "b"})
    both = StreakTable([ROUTE, other]).order("claribi", FAILED)
    assert both is not None
    assert both(body) == both({"data": {}}) == "*", "no field tells what has to wait"


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.sampled_from([FAILED, COMPLETED]), st.integers(1, 3), st.booleans()),
        max_size=30,
    )
)
def test_any_events_say_as_many_failures_as_there_were(
    steps: list[tuple[str, int, bool]],
) -> None:
    kept, failures = Kept(), dict.fromkeys((1, 2, 3), 0)
    for type_, number, replay in steps:
        told = kept(event(type_, {"data_source_id": number}), replay=replay)
        titles = [message.title for message in told.messages]
        if replay or type_ == FAILED:
            assert titles == []
            failures[number] += not replay
            continue
        count = failures[number]
        plural = "" if count == 1 else "s"
        said = f"data source {number} recovered after less than a second, {count} failure{plural}"
        assert titles == ([said] if count else [])
        failures[number] = 0


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"notify": ["ops"], "resolve": COMPLETED}, "resolve: needs resolve_by as well"),
        ({"notify": ["ops"], "resolve_by": "data.id"}, "resolve_by: needs resolve as well"),
        (
            {"forward": "https://example.com", "resolve": COMPLETED, "resolve_by": "data.id"},
            "resolve: has nobody to tell",
        ),
    ],
)
def test_settings_that_can_tell_of_no_recovery_are_refused(
    route: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_dict({"channels": {"ops": {"urls": ["file://a"]}}, "routes": [route]})
    assert says in str(caught.value)
