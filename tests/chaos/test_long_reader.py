"""A13: a program that keeps a read transaction open under load."""

import http.client
import json
import threading
import time
from pathlib import Path

import pytest
from serve_process import Serve, measured, opened, serving, sign, write_home

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

MIB = 1 << 20


def send(serve: Serve, name: str, count: int, statuses: list[int]) -> None:
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=60)
    for number in range(count):
        data = {"id": f"{name}-{number}", "padding": "x" * (MIB - 300)}
        body = json.dumps({"event": "nobody.cares", "data": data}).encode()
        headers = {"X-ClariBI-Signature": sign(body)}
        connection.request("POST", "/hooks/claribi", body, headers)
        reply = connection.getresponse()
        reply.read()
        statuses.append(reply.status)
    connection.close()


def test_a_reader_that_does_not_end_stops_nobody_and_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write_home(tmp_path / "home")
    wal = home / "data" / "clarihook.db-wal"
    statuses: list[int] = []
    with serving(home) as serve:
        with opened(home) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchall()
            senders = [
                threading.Thread(target=send, args=(serve, name, 40, statuses)) for name in "abcd"
            ]
            for each in senders:
                each.start()
            for each in senders:
                each.join(120)
            assert statuses == [202] * 160
            largest = wal.stat().st_size
            assert largest > 128 * MIB, "it could not be moved in"
            deadline = time.monotonic() + 20
            while "store.log_is_large" not in serve.said:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            reader.execute("ROLLBACK")
        begun = time.monotonic()
        while wal.stat().st_size > 64 * MIB:
            assert time.monotonic() < begun + 30, wal.stat().st_size
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        assert serve.said.count("store.log_is_large") == 1
        assert "end it" in serve.said
        assert serve.stop() == 0
    measured(
        capsys,
        f"log of {largest / MIB:.0f} MiB behind a reader, cut back {seconds:.1f} s after its end",
    )
