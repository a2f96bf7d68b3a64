"""Recoveries over real servers: counted once each, in order, whatever is killed or repeated."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serve_process import REPOSITORY, opened, serving, settle, write_home

FAILED, COMPLETED = "sync.failed", "sync.completed"
ROUTES = """
[[routes]]
name = "syncs"
match = "sync.failed"
notify = ["file"]
title = "failed"
resolve = "sync.completed"
resolve_by = "data.source"
"""
WAITING = (
    "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'cancelled', 'dead', 'held')"
)


def body(kind: str, source: int, number: int) -> bytes:
    minute = f"2026-07-01T10:{number % 60:02}:00+00:00"
    data = {"source": source, "number": number}
    return json.dumps({"event": kind, "timestamp": minute, "data": data}).encode()


def titles(home: Path) -> list[str]:
    lines = (home / "messages.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["title"] for line in lines]


def recoveries(home: Path) -> list[str]:
    return [title for title in titles(home) if title != "failed"]


def command(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "receiver.cli", *words, "--home", str(home)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_each_streak_is_counted_exactly_and_closed_once(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    home = write_home(tmp_path / "home", settings=ROUTES)
    with serving(home, *options) as serve:
        for number in range(10):
            for source in (1, 2, 3):
                sent = body(FAILED, source, number)
                assert serve.post(sent)[0] == 202
                assert serve.post(sent)[0] == 200, "a duplicate, which counts nothing"
        settle(home, WAITING)
        # Not everything: the order holds for what one source's events make of one source.
        for source in (1, 2, 3):
            assert serve.post(body(COMPLETED, source, 42))[0] == 202
            assert serve.post(body(COMPLETED, source, 43))[0] == 202
        settle(home, WAITING)
    assert sorted(recoveries(home)) == [
        f"source {source} recovered after 42 minutes, 10 failures" for source in (1, 2, 3)
    ]


def test_a_burst_is_counted_in_order_of_arrival(tmp_path: Path) -> None:
    """Nothing waits between the failures and the recovery but the order of their key."""
    home = write_home(tmp_path / "home", settings=ROUTES)
    with serving(home) as serve:
        for round_ in range(5):
            for number in range(10):
                assert serve.post(body(FAILED, 7, round_ * 100 + number))[0] == 202
            assert serve.post(body(COMPLETED, 7, round_ * 100 + 59))[0] == 202
        settle(home, WAITING)
    assert [title.split(", ")[1] for title in recoveries(home)] == ["10 failures"] * 5


def test_a_kill_in_the_middle_counts_each_failure_once(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", settings=ROUTES)
    accepted = 0
    for round_ in range(3):
        with serving(home) as serve:
            for number in range(15):
                status, _ = serve.post(body(FAILED, 1, round_ * 100 + number))
                accepted += status == 202
            serve.kill()  # with routes at work, and some just done
    with serving(home) as serve:
        settle(home, WAITING)
        with opened(home) as database:
            ((text,),) = database.execute(
                "SELECT value FROM handler_values WHERE handler = 'routes'"
            ).fetchall()
        assert json.loads(text)["failures"] == accepted == 45
        serve.post(body(COMPLETED, 1, 59))
        settle(home, WAITING)
    (said,) = recoveries(home)
    assert said.endswith(", 45 failures")


def test_a_replay_and_a_dry_run_leave_a_live_streak_as_it_is(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home", settings=ROUTES)

    def route(kind: str, number: int) -> dict[str, Any]:
        made = home / "event.json"
        made.write_bytes(body(kind, 1, number))
        result = command(home, "route", str(made), "--json")
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    with serving(home) as serve:
        for number in (0, 1):
            serve.post(body(FAILED, 1, number))
        serve.post(body(COMPLETED, 2, 3))
        settle(home, WAITING)
        assert command(home, "replay", "--type", "sync.*").returncode == 0
        settle(home, WAITING)
        assert titles(home) == ["failed"] * 4, "the replay repeats what was said, and no more"
        assert route(FAILED, 2)["streaks"] == [
            "it would be failure 3 in a row, since 2026-07-01T10:00:00Z"
        ]
        (would,) = route(COMPLETED, 5)["recoveries"]
        assert would["title"] == "source 1 recovered after 5 minutes, 2 failures"
        assert [each["target"] for each in would["targets"]] == ["file/1-file"]
        serve.post(body(COMPLETED, 1, 5))
        settle(home, WAITING)
        assert recoveries(home) == ["source 1 recovered after 5 minutes, 2 failures"]
        assert route(COMPLETED, 6)["streaks"] == [
            "route syncs: nothing had failed of data.source 1, so nothing has recovered"
        ]
