"""Events out of one deployment and into another, byte for byte; and watched as they come."""

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_deployment import Deployment, eventually

from receiver.model import Event, NewEvent, format_headers
from receiver.store.base import EventFilter
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

HEADERS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z-]{1,8}", fullmatch=True),
        st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=8),
    ),
    max_size=3,
)
EVENTS = st.lists(
    st.tuples(
        st.integers(1_600_000_000_000, 1_900_000_000_000), st.sampled_from(["claribi", "gone"]),
        st.text(min_size=1, max_size=9), st.binary(max_size=60), HEADERS,
        st.none() | st.text(min_size=1, max_size=8), st.none() | st.integers(0, 3),
    ),
    max_size=8, unique_by=lambda event: event[3],
)  # fmt: skip


def database(deployment: Deployment) -> Path:
    return deployment.home / "data/clarihook.db"


async def fill(path: Path, events: list[NewEvent]) -> None:
    store = SqliteStore(path)
    await store.open()
    await asyncio.gather(*[store.record(event, ()) for event in events])
    await store.close()


def all_events(path: Path) -> list[Event]:
    async def read() -> list[Event]:
        store = SqliteStore(path, role="reader")
        await store.open()
        try:
            return await store.events(EventFilter(), limit=1000)
        finally:
            await store.close()

    return asyncio.run(read())


def comparable(events: list[Event]) -> list[tuple[object, ...]]:
    return [
        (e.id, e.source, e.type, e.received_at, e.body, e.headers, e.message_id, e.secret_index)
        for e in events
    ]


@given(EVENTS)
@settings(max_examples=15, deadline=None)
def test_what_is_exported_is_imported_byte_for_byte(events: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        one, two = Deployment(Path(folder, "one")), Deployment(Path(folder, "two"))
        news = [
            NewEvent(new_event_id(ms), source, type_, ms, body, format_headers(headers),
                     message_id and f"{number}{message_id}", secret,
                     hashlib.sha256(body).digest())
            for number, (ms, source, type_, body, headers, message_id, secret)
            in enumerate(events)
        ]  # fmt: skip
        asyncio.run(fill(database(one), news))
        file = Path(folder, "events.jsonl")
        assert one.call("events", "export", "-o", str(file)).returncode == 0
        counts = two.json("events", "import", str(file))
        assert counts == {"imported": len(news), "known": 0}
        assert comparable(all_events(database(two))) == comparable(all_events(database(one)))
        assert two.json("events", "import", str(file)) == {"imported": 0, "known": len(news)}


def test_an_import_is_told_from_a_webhook_that_comes_once_more(tmp_path: Path) -> None:
    """Both have the same dedupe key, whichever was first; an import runs nothing."""
    one, two = Deployment(tmp_path / "one"), Deployment(tmp_path / "two")
    one.serve()
    one.send("good.a")
    one.stop()
    exported = one.call("events", "export")
    (line,) = exported.stdout.splitlines()
    event = json.loads(line)
    (tmp_path / "file").write_text(line)
    assert two.json("events", "import", str(tmp_path / "file"))["imported"] == 1
    two.serve()
    try:
        import httpx2  # noqa: PLC0415

        answer = httpx2.post(
            f"{two.origin}/hooks/claribi", content=event["body"], headers=event["headers"]
        )
        assert answer.json() == {"id": event["id"], "duplicate": True}
    finally:
        two.stop()
    assert two.lines("handled") == []


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"id": "x", "received_at": "2026-01-01", "headers": [], "body": ""}']
)
def test_what_is_no_export_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    deployment = Deployment(tmp_path / "home")
    (tmp_path / "file").write_text(f"\n{line}\n")
    result = deployment.call("events", "import", str(tmp_path / "file"))
    assert result.returncode == 2
    assert "line 2 is no exported event" in result.stderr


def test_tail_shows_what_came_since_then_what_comes(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    try:
        first = deployment.send("good.a", "--count", "2")
        deployment.send("bad.b")
        command = ("events", "tail", "--type", "good.*", "--since", "1h", "--count", "3", "--json")
        with deployment.popen(*command) as process:
            assert process.stdout is not None
            shown = [json.loads(process.stdout.readline()) for _ in range(2)]
            late = deployment.send("good.c")
            shown.append(json.loads(process.stdout.readline()))
            assert process.wait(30) == 0
        assert {event["id"] for event in shown[:2]} == set(first)
        assert [event["id"] for event in shown[2:]] == late
        plain = deployment.run("events", "tail", "--since", "1h", "--count", "1", "--body")
        assert '  "event": "good.a"' in plain.stdout
    finally:
        deployment.stop()
    eventually(lambda: len(deployment.lines("handled")) == 3)
