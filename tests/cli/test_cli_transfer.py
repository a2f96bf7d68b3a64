"""Events out of one deployment and into another, byte for byte; and watched as they come."""

import asyncio
import base64
import csv
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from datetime import datetime
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
FORMULAS = st.from_regex(r"[=+@\t\r\n'-][ -~]{0,9}", fullmatch=True)
EVENTS = st.lists(
    st.tuples(
        st.integers(1_600_000_000_000, 1_900_000_000_000), st.sampled_from(["claribi", "gone"]),
        st.text(min_size=1, max_size=9) | FORMULAS,
        st.binary(max_size=60) | FORMULAS.map(str.encode), HEADERS,
        st.none() | st.text(min_size=1, max_size=8), st.none() | st.integers(0, 3),
        st.integers(0, 3),
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
        (e.id, e.source, e.type, e.received_at, e.body, e.headers, e.message_id, e.secret_index,
         e.duplicates)
        for e in events
    ]  # fmt: skip


def table_of(deployment: Deployment, file: Path) -> list[tuple[object, ...]]:
    """What is in a CSV: nothing is lost in it, though some cells have an apostrophe before them."""
    assert deployment.call("events", "export", "-o", str(file)).returncode == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        for name, cell in row.items():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), (name, cell)
            row[name] = cell.removeprefix("'")
    return [
        (
            row["id"], row["source"], row["type"], datetime.fromisoformat(row["received_at"]),
            row["body"].encode() if row["body_encoding"] == "text"
            else base64.b64decode(row["body"]),
            tuple((name, value) for name, value in json.loads(row["headers"])),
            row["message_id"] or None,
            int(row["secret_index"]) if row["secret_index"] else None, int(row["duplicates"]),
        )
        for row in reversed(rows)
    ]  # fmt: skip


@given(EVENTS)
@settings(max_examples=15, deadline=None)
def test_what_is_exported_is_imported_byte_for_byte(events: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        one = Deployment(Path(folder, "one"))
        news = [
            NewEvent(new_event_id(ms), source, type_, ms, body, format_headers(headers),
                     message_id and f"{number}{message_id}", secret,
                     hashlib.sha256(body).digest(), duplicates)
            for number, (ms, source, type_, body, headers, message_id, secret, duplicates)
            in enumerate(events)
        ]  # fmt: skip
        asyncio.run(fill(database(one), news))
        for name in ("events.jsonl", "events.parquet"):
            two = Deployment(Path(folder, f"for {name}"))
            file = Path(folder, name)
            assert one.call("events", "export", "-o", str(file)).returncode == 0
            counts = two.json("events", "import", str(file))
            assert counts == {"imported": len(news), "known": 0}
            assert comparable(all_events(database(two))) == comparable(all_events(database(one)))
            assert two.json("events", "import", str(file)) == {"imported": 0, "known": len(news)}
        assert table_of(one, Path(folder, "events.csv")) == comparable(all_events(database(one)))


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


def test_an_archive_has_each_request_and_its_answer(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    try:
        (event_id,) = deployment.send("good.a")
    finally:
        deployment.stop()
    file = tmp_path / "events.har"
    assert "exported 1 events" in deployment.run("events", "export", "-o", str(file)).stdout
    log = json.loads(file.read_text())["log"]
    (entry,) = log["entries"]
    shown = deployment.json("events", "show", event_id)
    request = entry["request"]
    assert (log["version"], request["method"]) == ("1.2", "POST")
    assert request["url"] == f"{deployment.origin}/hooks/claribi"
    assert request["postData"]["text"] == shown["body"]
    assert [[h["name"], h["value"]] for h in request["headers"]] == shown["headers"]
    assert entry["response"]["status"] == 202
    assert entry["_clarihook"]["id"] == event_id
    empty = deployment.call("events", "export", "--format", "har", "--until", "2020-01-01")
    assert json.loads(empty.stdout)["log"]["entries"] == []


def test_a_format_may_be_named_and_must_be_one(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    assert deployment.call("db", "migrate").returncode == 0
    named = deployment.call("events", "export", "--format", "csv")
    assert named.stdout.startswith("id,received_at,source,type,bytes,")
    wrong = deployment.call("events", "export", "--format", "paquet")
    assert (wrong.returncode, 'did you mean "parquet"?' in wrong.stderr) == (2, True)
    nowhere = deployment.call("events", "export", "-o", str(tmp_path / "no/file.jsonl"))
    assert (nowhere.returncode, "No such file" in nowhere.stderr) == (2, True)
    (tmp_path / "events.csv").write_text(named.stdout)
    table = deployment.call("events", "import", str(tmp_path / "events.csv"))
    assert "this is a CSV, which is for spreadsheets" in table.stderr
    (tmp_path / "events.parquet").write_bytes(b"PAR1 and no more")
    broken = deployment.call("events", "import", str(tmp_path / "events.parquet"))
    assert (broken.returncode, "the Parquet file can't be read" in broken.stderr) == (2, True)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    assert deployment.call("db", "migrate").returncode == 0
    code = "import sys; sys.modules['pyarrow'] = None; from receiver.cli import main; main()"
    for arguments in (["export", "-o", "it.parquet"], ["import", "given.parquet"]):
        (deployment.home / "given.parquet").write_bytes(b"PAR1")
        result = subprocess.run(
            [sys.executable, "-c", code, "events", *arguments], cwd=deployment.home, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == 2
        assert "needs pyarrow; install it with: pip install 'clarihook[parquet]'" in result.stderr
    assert not list(deployment.home.glob("*it.parquet*")), "what failed leaves nothing"


EXPORTED = {
    "id": "evt_01a209162ace0641c95edc2f624b78b6", "received_at": "2026-11-23T15:46:17.422Z",
    "source": "a", "type": "b", "headers": [["x", "y"]], "message_id": None, "secret_index": 0,
    "body": "{}",
}  # fmt: skip
NO_EVENTS = [
    ("{", "Expecting property name"),
    ("[]", "it is no JSON object"),
    ('"\xff"', "text that is no UTF-8"),
    ("{}", "id: Field required"),
    *[
        (json.dumps({**EXPORTED, **wrong}), text)
        for wrong, text in (
            ({"id": "x"}, "'x' is no event id"),
            ({"received_at": "2026-01-01T00:00:00Z"}, "did not come at received_at"),
            ({"received_at": "2026-11-23T15:46:17.422"}, "received_at: "),
            ({"type": ""}, "type: "),
            ({"source": 5}, "source: "),
            ({"message_id": 5}, "message_id: "),
            ({"secret_index": 2**70}, "secret_index: "),
            ({"duplicates": -1}, "duplicates: "),
            ({"headers": [["x"]]}, "headers.0"),
            ({"headers": [["\u4e00", "y"]]}, "headers.0.0: "),
            ({"headers": [["x", "y\r\nz: a"]]}, "headers.0.1: "),
            ({"body": None}, "body: no text"),
            ({"body_base64": "!"}, "base64"),
            ({"body": "\ud800"}, "text that is no UTF-8"),
        )
    ],
]


@pytest.mark.parametrize(("line", "text"), NO_EVENTS)
def test_what_is_no_export_is_refused_with_its_line_and_why(
    tmp_path: Path, line: str, text: str
) -> None:
    deployment = Deployment(tmp_path / "home")
    (tmp_path / "file").write_text(f"\n{line}\n", encoding="latin-1")
    result = deployment.call("events", "import", str(tmp_path / "file"))
    assert result.returncode == 2
    assert "line 2 is no exported event: " in result.stderr
    assert text in result.stderr
    (tmp_path / "file").write_text(json.dumps(EXPORTED))
    assert deployment.json("events", "import", str(tmp_path / "file"))["imported"] == 1


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
        assert [event["deliveries"] for event in shown[:2]] == [{"succeeded": 1}] * 2
        plain = deployment.run("events", "tail", "--since", "1h", "--count", "1", "--body")
        assert '  "event": "good.a"' in plain.stdout
    finally:
        deployment.stop()
    eventually(lambda: len(deployment.lines("handled")) == 3)


def test_tail_says_how_the_deliveries_ended(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    deployment.serve()
    try:
        with deployment.popen("events", "tail", "--since", "1h") as process:
            assert process.stdout is not None
            (slow,) = deployment.send("slow.a")
            assert f"{slow}  claribi  slow.a" in process.stdout.readline()
            (deployment.home / "go").touch()
            line = process.stdout.readline()
            assert line.split() == [slow, "1", "succeeded"]
            (bad,) = deployment.send("bad.b")
            lines = process.stdout.readline()
            if "dead" not in lines:  # it was seen before it had ended
                lines = process.stdout.readline()
            assert bad in lines
            assert "1 dead" in lines
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    finally:
        deployment.stop()
