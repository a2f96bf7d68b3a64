"""Silences: which message each keeps back. Kept in the database, they are still the same."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from receiver.model import Event, EventId, Message, Severity, Silence, to_ms
from receiver.notify.outbox import Outbox
from receiver.notify.silences import Silencer
from receiver.store import silencing
from receiver.store.driver import sqlite3
from receiver.store.migrations import migrations

NOW = datetime(2026, 7, 1, 22, tzinfo=UTC)
NOW_MS = to_ms(NOW)


def silence(**conditions: object) -> Silence:
    made = Silence(created_at=NOW, until=NOW + timedelta(hours=1), author="ana", comment="moving",
                   id=1)  # fmt: skip
    return replace(made, **conditions)


def event(
    type_: str = "data_source.sync_failed", source: str = "claribi", data: object = None
) -> Event:
    body = json.dumps({"event": type_, "data": {} if data is None else data}).encode()
    return Event(id=EventId("evt_1"), seq=1, source=source, type=type_, received_at=NOW, body=body)


def message(channel: str = "ops", severity: Severity = Severity.WARNING) -> Message:
    return Message(channel=channel, title="t", body="b", severity=severity)


def holds(one: Silence, said: Message, about: Event, now_ms: int = NOW_MS) -> bool:
    return Silencer([one])(said, about, now_ms) is not None


@pytest.mark.parametrize(
    ("conditions", "does"),
    [
        ({}, True),
        ({"types": ("data_source.*",)}, True),
        ({"types": ("billing.*", "*.sync_failed")}, True),
        ({"types": ("data_source",)}, False),
        ({"sources": ("clari*",)}, True),
        ({"sources": ("github",)}, False),
        ({"channels": ("ops", "finance")}, True),
        ({"channels": ("finance",)}, False),
        ({"severities": (Severity.WARNING,)}, True),
        ({"severities": (Severity.INFO, Severity.CRITICAL)}, False),
        ({"channels": ("ops",), "types": ("billing.*",)}, False),
        ({"where": "event.data.data_source_id == 4"}, True),
        ({"where": "event.data.data_source_id == 5"}, False),
        ({"where": "event.data.data_source_id + 1"}, False),
        ({"where": "event.data.nothing == 4"}, False),
        ({"where": "event.data.nothing == 4 || source == 'claribi'"}, True),
    ],
)
def test_all_conditions_have_to_hold_and_of_one_any_value(
    conditions: dict[str, object], does: bool
) -> None:
    about = event(data={"data_source_id": 4})
    assert holds(silence(**conditions), message(), about) is does


def test_a_condition_that_can_not_be_decided_silences_nothing() -> None:
    broken = replace(event(), body=b"no json")
    assert not holds(silence(where="event.data.id == 1"), message(), broken)
    assert not holds(silence(where="this is no CEL"), message(), event())
    assert holds(silence(), message(), broken)


def test_it_ends_at_its_time_or_when_somebody_ends_it() -> None:
    end_ms = to_ms(silence().until)
    assert holds(silence(), message(), event(), end_ms - 1)
    assert not holds(silence(), message(), event(), end_ms)
    ended = silence(ended_at=NOW + timedelta(minutes=1))
    assert holds(ended, message(), event(), NOW_MS)
    assert not holds(ended, message(), event(), NOW_MS + 60_000)


def test_what_several_match_is_held_by_the_one_that_ends_last() -> None:
    longer = silence(id=2, until=NOW + timedelta(hours=2), author="bo", comment="upgrade")
    hold = Silencer([silence(), longer])(message(), event(), NOW_MS)
    assert hold is not None
    assert (hold.silence, hold.until_ms) == (2, to_ms(longer.until))
    assert hold.reason == "silence 2 until 2026-07-02 00:00 UTC, by bo: upgrade"


# -- the law: the database and the outbox agree with what the words mean ------------------------

TYPES = ("data_source.sync_failed", "data_source.sync_completed", "billing.credits_low", "a[b]?")
SOURCES = ("claribi", "github", "x?y")
CHANNELS = ("ops", "finance", "on-call")


def patterns(names: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    some = [*names, *(f"{each[:3]}*" for each in names), "*", f"*{names[0][-3:]}"]
    return st.lists(st.sampled_from(some), max_size=2).map(tuple)


silences = st.builds(
    silence,
    types=patterns(TYPES),
    sources=patterns(SOURCES),
    channels=patterns(CHANNELS),
    severities=st.lists(st.sampled_from(Severity), max_size=2, unique=True).map(tuple),
    where=st.sampled_from([None, "event.data.id == 1", "event.data.none == 1"]),
    until=st.integers(-2, 2).map(lambda hours: NOW + timedelta(hours=hours)),
    ended_at=st.none(),
)
events = st.builds(
    event,
    st.sampled_from(TYPES),
    st.sampled_from(SOURCES),
    st.sampled_from([{"id": 1}, {"id": 2}, {}]),
)
messages = st.builds(message, st.sampled_from(CHANNELS), st.sampled_from(Severity))


def oracle(one: Silence, said: Message, about: Event) -> bool:
    """What docs/notifications.md says, by other means."""

    def fits(wanted: tuple[str, ...], name: str) -> bool:
        # `*` is the only special character.
        texts = [each.replace("[", "[[]").replace("?", "[?]") for each in wanted]
        return not wanted or any(fnmatchcase(name, text) for text in texts)

    return (
        one.ends_at > NOW
        and fits(one.types, about.type)
        and fits(one.sources, about.source)
        and fits(one.channels, said.channel)
        and (not one.severities or said.severity in one.severities)
        and (one.where is None or (about.json["data"].get("id") == 1 and "none" not in one.where))
    )


@pytest.fixture(scope="module")
def database() -> "Iterator[sqlite3.Connection]":
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "clarihook.db", isolation_level=None)
        migrations.apply(Database(connection, execute_plugins=False))
        yield connection
        connection.close()


@given(made=st.lists(silences, max_size=4), said=messages, about=events)
def test_what_the_database_lists_is_what_the_outbox_holds(
    database: "sqlite3.Connection", made: list[Silence], said: Message, about: Event
) -> None:
    database.execute("DELETE FROM silences")
    expected = {silencing.add(database, each): oracle(each, said, about) for each in made}
    silencer = Silencer(silencing.silences(database, active_ms=NOW_MS))
    box = Outbox(lambda _channel: (), {}, silenced=silencer)
    hold = box.hold(said, about, f"{said.channel}/1-test", NOW_MS)
    matching = [each for each in silencing.silences(database, active_ms=None) if expected[each.id]]
    assert (hold is not None) == bool(matching)
    if hold is not None:
        assert expected[hold.silence or 0]
        assert hold.until_ms == max(to_ms(each.ends_at) for each in matching)
