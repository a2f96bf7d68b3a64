"""Digests on a real server: a burst of 1,000 in at most 20 messages, kills, several processes."""

import http.client
import json
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from serve_process import Serve, measured, opened, serving, settle, sign, write_home

from receiver.store.sharing import can_share

SOURCES = 10
EVENTS = 1_000
SETTINGS = """
[channels.ops]
urls = ["file://ops.jsonl"]
group_by = ["type", "data.data_source_id"]
wait = "{wait}"
every = "{every}"
[[routes]]
match = "data_source.sync_failed"
notify = "ops"
title = "{{{{ event.data.data_source_name }}}} failed to sync"
body = "{{{{ event.data.error }}}}"
severity = "critical"
"""
UNROUTED = "SELECT count(*) FROM deliveries WHERE kind = 'handler' AND finalized_at IS NULL"
OPEN = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"
ACCOUNTS = """
SELECT events.id, count(*), sum(out.state = 'succeeded')
FROM events
JOIN deliveries ON deliveries.event_seq = events.seq
JOIN messages ON messages.id = deliveries.message_id AND messages.merges IS NULL
JOIN deliveries AS out ON out.id = coalesce(deliveries.merged_into, deliveries.id)
GROUP BY events.id
"""


def failure(number: int) -> bytes:
    source = number % SOURCES
    data = {"data_source_id": source, "data_source_name": f"Warehouse {source}",
            "error": f"timeout {number}"}  # fmt: skip
    return json.dumps({"event": "data_source.sync_failed", "data": data}).encode()


def send(serve: Serve, numbers: range, ids: list[str]) -> None:
    """Post these failures on one connection; the ids of those that were accepted."""
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=30)
    for number in numbers:
        body = failure(number)
        connection.request("POST", "/hooks/claribi", body, {"X-ClariBI-Signature": sign(body)})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        assert reply.status == 202, answer
        ids.append(answer["id"])
    connection.close()


def burst(serve: Serve, count: int = EVENTS, *, clients: int = 4) -> list[str]:
    ids: list[str] = []
    threads = [
        threading.Thread(target=send, args=(serve, range(first, count, clients), ids))
        for first in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ids


def sent(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "ops.jsonl").read_text("utf-8").splitlines()]


def check_accounts(home: Path, ids: list[str]) -> None:
    """Every event's message went out in exactly one that arrived; the counts say as much."""
    with opened(home) as database:
        accounts = database.execute(ACCOUNTS).fetchall()
    assert Counter(event_id for event_id, *_ in accounts) == Counter(ids)
    assert {(messages, arrived) for _, messages, arrived in accounts} == {(1, 1)}
    titles = Counter[str]()
    for message in sent(home):
        count, times, title = message["title"].partition(" \N{MULTIPLICATION SIGN} ")
        titles[title if times else message["title"]] += int(count) if times else 1
    assert titles.total() == len(ids)
    assert len(titles) == min(SOURCES, len(ids))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_burst_of_a_thousand_is_at_most_twenty_messages(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if workers > 1 and not can_share(runs_deliveries=True):
        pytest.skip("one process only, here")
    settings = SETTINGS.format(wait="1s", every="60s")
    home = write_home(tmp_path / "home", handlers="", settings=settings)
    with serving(home, "--workers", str(workers)) as serve:
        ids = burst(serve)
        assert len(set(ids)) == EVENTS
        settle(home, UNROUTED)
        # What came after the first digests waits for a minute: no need to, here.
        with opened(home) as database:
            database.execute("UPDATE deliveries SET due_at = 0 WHERE state = 'held'")
            database.commit()
        settle(home, OPEN)
        assert serve.stop() == 0
    check_accounts(home, ids)
    messages = len(sent(home))
    assert SOURCES <= messages <= 2 * SOURCES
    measured(capsys, f"{EVENTS} events, {workers} workers: {messages} messages")


def test_what_is_held_survives_kills_and_goes_out_once(tmp_path: Path) -> None:
    settings = SETTINGS.format(wait="1h", every="1h")
    home = write_home(tmp_path / "home", handlers="", settings=settings)
    with serving(home) as serve:
        ids = burst(serve, 100)
        settle(home, UNROUTED)
        serve.kill()
    assert not (home / "ops.jsonl").exists()
    with opened(home) as database:
        held = "SELECT count(*) FROM deliveries WHERE state = 'held'"
        assert database.execute(held).fetchone() == (100,)
        # An hour later.
        database.execute("UPDATE deliveries SET due_at = 0 WHERE state = 'held'")
        database.commit()
    for _ in range(3):  # killed somewhere in between; a digest that was made is not made again
        with serving(home) as serve:
            serve.signal(signal.SIGKILL)
            serve.process.wait()
    with serving(home) as serve:
        settle(home, OPEN)
        assert serve.stop() == 0
    with opened(home) as database:
        digests = "SELECT count(*) FROM messages WHERE merges IS NOT NULL"
        assert database.execute(digests).fetchone() == (SOURCES,), "one per group"
        accounts = database.execute(ACCOUNTS).fetchall()
    assert Counter(event_id for event_id, *_ in accounts) == Counter(ids)
    assert {(messages, arrived) for _, messages, arrived in accounts} == {(1, 1)}
    # A kill in the midst of a send may repeat it: at least once, and almost always once.
    assert {message["title"] for message in sent(home)} == {
        f"10 \N{MULTIPLICATION SIGN} Warehouse {source} failed to sync" for source in range(SOURCES)
    }
