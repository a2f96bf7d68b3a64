"""The file target: one line of JSON a message, and only ever inside the home."""

import asyncio
import json
import os
import resource
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from notify_endpoints import say, send

from receiver.dispatch.circuit import weigh
from receiver.errors import ConfigError
from receiver.model import Attachment, Outcome
from receiver.notify.file_target import FileTarget, file_path

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make(home: Path, path: str = "data/out.jsonl") -> FileTarget:
    return FileTarget(
        "ops/1-file", PurePosixPath(path), home=home, timeout_seconds=5, now=lambda: NOW
    )


def test_each_message_is_one_line(tmp_path: Path) -> None:
    target = make(tmp_path)
    chart = Attachment(name="c.png", content_type="image/png", content=b"PNG!")
    assert (
        send(target, say("one\ntwo\u2028three", "é", attachments=(chart,))).outcome == "delivered"
    )
    assert send(target, say("next")).outcome is Outcome.DELIVERED
    first, second = (tmp_path / "data/out.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "sent_at": "2026-03-01T12:00:00.000+00:00",
        "channel": "ops",
        "severity": "warning",
        "format": "text",
        "title": "é",
        "body": "one\ntwo\u2028three",
        "attachments": [{"name": "c.png", "content_type": "image/png", "bytes": 4}],
    }
    assert json.loads(second)["body"] == "next"


def test_file_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    send(make(tmp_path, "a/b/out.jsonl"))
    modes = [stat.S_IMODE((tmp_path / part).stat().st_mode) for part in ("a", "a/b/out.jsonl")]
    assert modes == [0o700, 0o600]


def test_many_at_once_are_all_whole_lines(tmp_path: Path) -> None:
    async def run() -> None:
        one, other = make(tmp_path), make(tmp_path)
        sends = (target.send(say("x" * 20_000)) for target in (one, other) for _ in range(20))
        results = await asyncio.gather(*sends)
        assert {result.outcome for result in results} == {Outcome.DELIVERED}
        await one.close()
        await other.close()

    asyncio.run(run())
    lines = (tmp_path / "data/out.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["body"]) for line in lines] == [20_000] * 40


@pytest.mark.parametrize("link", ["data", "data/out.jsonl"])
def test_symbolic_link_is_refused(tmp_path: Path, link: str) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    (home / link).parent.mkdir(parents=True)
    outside.mkdir()
    (outside / "out.jsonl").touch()
    (home / link).symlink_to(outside if link == "data" else outside / "out.jsonl")
    result = send(make(home))
    assert result.outcome is Outcome.PERMANENT
    assert "can't write data/out.jsonl" in (result.error or "")
    assert (outside / "out.jsonl").read_bytes() == b""


def test_folder_fifo_and_device_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("folder", "fifo"):
        assert send(make(tmp_path, name)).outcome is Outcome.PERMANENT
    assert send(make(Path("/dev"), "null")).outcome is Outcome.PERMANENT


def test_write_that_fails_half_way_leaves_no_half_line(tmp_path: Path) -> None:
    target = make(tmp_path)
    send(target, say("first"))
    before = (tmp_path / "data/out.jsonl").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
    try:
        result = send(target, say("second"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "OSError")
    assert (tmp_path / "data/out.jsonl").read_bytes() == before


def test_missing_home_is_transient(tmp_path: Path) -> None:
    result = send(make(tmp_path / "gone"))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "FileNotFoundError")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file://data/out.jsonl", "data/out.jsonl"),
        ("file://out.jsonl", "out.jsonl"),
        ("file://data/with%20space.jsonl", "data/with space.jsonl"),
        ("file://{home}/data/out.jsonl", "data/out.jsonl"),
    ],
)
def test_paths_in_the_home_are_taken(tmp_path: Path, url: str, path: str) -> None:
    assert str(file_path(url.format(home=tmp_path), tmp_path, where="X")) == path


@pytest.mark.parametrize(
    "url",
    [
        "file://../out.jsonl",
        "file://data/../../out.jsonl",
        "file://%2e%2e/out.jsonl",
        "file:///etc/passwd",
        "file://%2fetc%2fpasswd",
        "file://{home}/../x",
        "file://{home}x/out.jsonl",
        "file://",
        "file:///",
        "file://data/",
        "file://a%00b",
        "file://{home}",
    ],
)
def test_paths_that_leave_the_home_are_refused_at_load(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^channels\.ops, URL 1: "):
        file_path(url.format(home=tmp_path), tmp_path, where="channels.ops, URL 1")


def test_a_thread_that_does_not_start_holds_no_later_message_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short of memory, or of threads, the target is not at fault, and is well again later."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        target = make(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                result = await target.send(say("one"))
                assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "NoThread")
                assert weigh(result.outcome, None, result.error_class) is None
        assert (await target.send(say("two"))).outcome is Outcome.DELIVERED
        await target.close()

    asyncio.run(run())
    (line,) = (tmp_path / "data/out.jsonl").read_text().splitlines()
    assert json.loads(line)["body"] == "two"
