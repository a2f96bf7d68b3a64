"""One event at a time on an idle server: from the request to the handler's first line."""

import random
import socket
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from contenders import BARE, Contender, clarihook, running, uvicorn
from load import EVENT, FIRST_ID, signed_request
from report import Line

STAMPING = f"""
import os
import time

from receiver import Context, on
from receiver.events import SyncCompleted

TIMES = os.open(os.environ["BENCH_HOME"] + "/times", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@on("{EVENT}")
async def nothing(event: SyncCompleted, ctx: Context) -> None:
    now = time.monotonic_ns()
    os.write(TIMES, b"%d %d\\n" % (event.data.data_source_id, now))
"""
"""A handler that notes on the machine's monotonic clock when it starts, in `times`."""

MAX_PAUSE_SECONDS = 0.02


class Sender:
    """Sends whole requests on one connection and waits for each answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> tuple[int, int]:
        """When it was sent and when its answer was there, on the monotonic clock, in ns."""
        begun = time.monotonic_ns()
        self._socket.sendall(request)
        answer = self._socket.recv(65_536)
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            answer += self._socket.recv(65_536)
        assert answer.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")), answer
        return begun, time.monotonic_ns()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def starts(home: Path) -> dict[int, int]:
    """When each event's handler started, by the event's number."""
    lines = (home / "times").read_bytes().split(b"\n")[:-1]
    pairs = [tuple(map(int, line.split())) for line in lines]
    return {data_source_id - FIRST_ID: at for data_source_id, at in pairs}


def percentiles(samples_ms: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cuts = quantiles(samples_ms, n=100)
    return cuts[49], cuts[98]


def _send_all(url: str, events: int) -> list[tuple[int, int]]:
    sender = Sender(url)
    try:
        for number in range(100):  # the first ones import and compile what is used later
            sender.send(signed_request(number))
        sent: list[tuple[int, int]] = []
        for number in range(100, 100 + events):
            request = signed_request(number)
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
            sent.append(sender.send(request))
        return sent
    finally:
        sender.close()


def run(events: int) -> list[Line]:
    """The lines of the table."""
    print("latency", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with running(Contender(BARE, uvicorn("bare")), Path(folder)) as server:
            bare = _send_all(server.url, events)
        home = Path(folder)
        with running(Contender("clarihook", clarihook(STAMPING)), home) as server:
            sent = _send_all(server.url, events)
        started = starts(home)
    to_answer = [(answered - begun) / 1e6 for begun, answered in bare]
    to_our_answer = [(answered - begun) / 1e6 for begun, answered in sent]
    to_start = [
        (started[number] - begun) / 1e6 for number, (begun, _) in enumerate(sent, start=100)
    ]
    p50, p99 = percentiles(to_start)
    return [
        *_lines("bare Starlette, request to answer", to_answer),
        *_lines("clarihook, request to answer", to_our_answer),
        Line("clarihook, request to handler's start, p50", p50, "ms", at_most=5),
        Line("clarihook, request to handler's start, p99", p99, "ms", at_most=25),
    ]


def _lines(what: str, samples_ms: list[float]) -> list[Line]:
    p50, p99 = percentiles(samples_ms)
    return [Line(f"{what}, p50", p50, "ms"), Line(f"{what}, p99", p99, "ms")]
