"""`kill -9` of the server under load, again and again: what it acknowledged is there and done."""

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from serve_process import Load, measured, opened, serving, settle, write_home

ROUNDS = 20

UNFINISHED = "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"


@pytest.mark.chaos
@pytest.mark.timeout(180)
def test_kill_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A1: every acknowledged event is stored once, whole, with its delivery; every one is handled,
    and its message sent; a message is there twice only if a kill cut its sending.
    """
    home = write_home(tmp_path / "home")
    moments = random.Random(2)
    accepted: dict[str, bytes] = {}
    cut = 0
    for number in range(ROUNDS):
        with serving(home) as serve:
            load = Load(serve, f"round{number}")
            assert load.has_begun.wait(20)
            time.sleep(moments.uniform(0.005, 0.5))  # the kill's moment is what is varied here
            serve.kill()
            load.end()
        assert set(load.statuses) == {202}, load.statuses
        accepted |= load.accepted
        cut += load.cut
    with serving(home) as serve:
        settle(home, UNFINISHED, seconds=60)
        assert serve.stop() == 0

    with opened(home) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = database.execute("SELECT id, body FROM events").fetchall()
        stored = dict(rows)
        lost = {event for event, body in accepted.items() if stored.get(event) != body}
        assert not lost
        bodies = Counter(bytes(body) for _, body in rows)
        assert max(bodies.values()) == 1
        assert len(stored) - len(accepted) <= cut, "more events than requests"
        per_event = database.execute(
            "SELECT count(*) FROM deliveries WHERE kind = 'handler' GROUP BY event_seq"
        ).fetchall()
        assert len(per_event) == len(stored)
        assert set(per_event) == {(1,)}
        states = dict(
            database.execute("SELECT kind || ' ' || state, count(*) FROM deliveries GROUP BY 1")
        )
        assert states == {"handler succeeded": len(stored), "target succeeded": len(stored)}
        ((runs_cut,),) = database.execute(
            "SELECT count(*) FROM attempts JOIN deliveries ON deliveries.id = delivery_id "
            "WHERE outcome = 'unknown' AND kind = 'handler'"
        )
        ((sends_cut,),) = database.execute(
            "SELECT count(*) FROM attempts JOIN deliveries ON deliveries.id = delivery_id "
            "WHERE outcome = 'unknown' AND kind = 'target'"
        )
    handled = Counter((home / "handled").read_text("ascii").split())
    assert handled.keys() == stored.keys()
    messages = Counter(
        json.loads(line)["title"] for line in (home / "messages.jsonl").read_text().splitlines()
    )
    assert messages.keys() == stored.keys()
    again = handled.total() - len(handled)
    twice = messages.total() - len(messages)
    assert again <= runs_cut
    assert twice <= sends_cut
    measured(
        capsys,
        f"{ROUNDS} kills: {len(accepted)} acknowledged, {len(lost)} lost, {len(stored)} stored; "
        f"{runs_cut} runs cut, {again} events handled again; "
        f"{sends_cut} sends cut, {twice} messages twice",
    )
