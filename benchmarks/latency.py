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
WARM_UP_EVENTS = 100
"""The first ones import and compile what is used later."""


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


def percentiles(samples_ms: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cuts = quantiles(samples_ms, n=100)
    return cuts[49], cuts[98]


class Live:
    """Sends events one at a time to a server with the stamping handler, with pauses of chance."""

    def __init__(self, url: str, home: Path) -> None:
        self._sender = Sender(url)
        self._times = home / "times"
        self._next = 0
        self._sent: dict[int, tuple[int, int]] = {}
        self.send(WARM_UP_EVENTS)
        self._sent.clear()

    def send(self, events: int) -> None:
        """Send that many."""
        for _ in range(events):
            request = signed_request(self._next)
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
            self._sent[self._next] = self._sender.send(request)
            self._next += 1

    def take_ms(self) -> list[float]:
        """From the request to the handler's start, of each event since the last time."""
        sent, self._sent = self._sent, {}
        started = self._starts(until=self._next)
        return [(started[number] - begun) / 1e6 for number, (begun, _) in sent.items()]

    def answers_ms(self) -> list[float]:
        """From the request to its answer, of the same events; before `take_ms`."""
        return [(answered - begun) / 1e6 for begun, answered in self._sent.values()]

    def _starts(self, *, until: int) -> dict[int, int]:
        """When each event's handler started, by the event's number; waits for the last ones."""
        give_up_at = time.monotonic() + 30
        while True:
            lines = self._times.read_bytes().split(b"\n")[:-1] if self._times.exists() else []
            if len(lines) >= until:
                pairs = [tuple(map(int, line.split())) for line in lines]
                return {data_source_id - FIRST_ID: at for data_source_id, at in pairs}
            assert time.monotonic() < give_up_at, f"{len(lines)} of {until} were handled"
            time.sleep(0.05)

    def close(self) -> None:
        """Hang up."""
        self._sender.close()


def run(events: int) -> list[Line]:
    """The lines of the table."""
    print("latency", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running(Contender(BARE, uvicorn("bare")), home) as server:
            live = Live(server.url, home)
            live.send(events)
            bare_ms = live.answers_ms()
            live.close()
        with running(Contender("clarihook", clarihook(STAMPING)), home) as server:
            live = Live(server.url, home)
            live.send(events)
            answers_ms, starts_ms = live.answers_ms(), live.take_ms()
            live.close()
    p50, p99 = percentiles(starts_ms)
    return [
        *_lines("bare Starlette, request to answer", bare_ms),
        *_lines("clarihook, request to answer", answers_ms),
        Line("clarihook, request to handler's start, p50", p50, "ms", at_most=5),
        Line("clarihook, request to handler's start, p99", p99, "ms", at_most=25),
    ]


def _lines(what: str, samples_ms: list[float]) -> list[Line]:
    p50, p99 = percentiles(samples_ms)
    return [Line(f"{what}, p50", p50, "ms"), Line(f"{what}, p99", p99, "ms")]
