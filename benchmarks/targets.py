"""How soon a message is at a healthy target while others hang.

    python benchmarks/targets.py --hanging 30 --messages 500

A server sends messages to a target that answers at once, one at a time, first alone, then while
other targets hang: they accept each connection and never answer. Measured is from the claim of
the delivery until it is sent, by the server's own record of its attempts. Exit status 1: not met.
"""

import argparse
import json
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from contenders import Contender, Running, clarihook, count, running
from latency import Sender, percentiles
from load import EVENT, FIRST_ID, signed_request
from report import Line, show

AT_MOST_MS = 50
WARM_UP = 20
DRAIN_SECONDS = 5
HANGS = 900_000
"""Events from this number on are for the targets that hang, too."""

TELL = f"""
from receiver import Context, on
from receiver.events import SyncCompleted


@on("{EVENT}")
async def tell(event: SyncCompleted, ctx: Context) -> None:
    ctx.notify("good", title=str(event.data.data_source_id), body="x")
    if event.data.data_source_id >= {FIRST_ID + HANGS}:
        ctx.notify("bad", title="x", body="x")
"""
SETTINGS = f"""
[server]
drain_timeout = "{DRAIN_SECONDS}s"
[channels.good]
urls = ["json://{{good}}/"]
[channels.bad]
urls = {{bad}}
timeout = "1h"
circuit_failures = 0
"""
SENT = "SELECT count(*) FROM deliveries WHERE name = 'good/1-json' AND state = 'succeeded'"
TOOK = """
SELECT duration_ms FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id
WHERE deliveries.name = 'good/1-json' ORDER BY attempts.delivery_id
"""


class _Good(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@contextmanager
def good_target() -> Iterator[str]:
    """The address of one that answers at once."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Good)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hanging_target() -> Iterator[tuple[str, list[socket.socket]]]:
    """The address of one that accepts and never answers, and the connections that it has."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    held: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                held.append(listener.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", held
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in held:
            each.close()


def wait_for(what: str, is_so: Any, *, seconds: float = 60) -> None:
    """Until it is so; ends the program if that takes too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:g} s")
        time.sleep(0.002)


def took_ms(server: Running, database: Path, first: int, messages: int) -> list[float]:
    """Send so many, each once the one before is recorded; how long each took."""
    sender = Sender(server.url)
    before = count(database, SENT)
    for number in range(messages):
        sender.send(signed_request(first + number))
        wait_for(
            "a message is sent", lambda done=before + number + 1: count(database, SENT) >= done
        )
    sender.close()
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        rows = connection.execute(TOOK).fetchall()
    finally:
        connection.close()
    return [float(row[0]) for row in rows][-messages:]


def threads(pid: int) -> int:
    """How many the process has."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("Threads:")[2].split()[0])


def run(hanging: int, messages: int) -> list[Line]:
    """The lines of the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        good_target() as good,
        hanging_target() as (bad, held),
    ):
        home = Path(folder)
        database = home / "data" / "clarihook.db"
        urls = json.dumps([f"json://{bad}/{number}" for number in range(hanging)])
        settings = SETTINGS.format(good=good, bad=urls)
        with running(Contender("clarihook", clarihook(TELL, settings)), home) as server:
            took_ms(server, database, 0, WARM_UP)
            alone = took_ms(server, database, WARM_UP, messages)
            calm_threads = threads(server.pid)
            took_ms(server, database, HANGS, 1)
            wait_for("all hang", lambda: len(held) >= hanging)
            among = took_ms(server, database, WARM_UP + messages, messages)
            busy_threads = threads(server.pid)
            begun = time.monotonic()
        stopped_seconds = time.monotonic() - begun
    alone_p50, alone_p99 = percentiles(alone)
    p50, p99 = percentiles(among)
    return [
        Line("claim to sent, alone, p50", alone_p50, "ms"),
        Line("claim to sent, alone, p99", alone_p99, "ms"),
        Line(f"claim to sent, {hanging} targets hang, p50", p50, "ms"),
        Line(f"claim to sent, {hanging} targets hang, p99", p99, "ms", at_most=AT_MOST_MS),
        Line("threads more", busy_threads - calm_threads, "", at_most=hanging + 2),
        Line("from SIGINT to its end", stopped_seconds, "s", at_most=DRAIN_SECONDS + 2),
    ]


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hanging", type=int, default=30, help="targets that hang")
    parser.add_argument("--messages", type=int, default=500, help="to the healthy one, each time")
    options = parser.parse_args()
    lines = run(options.hanging, options.messages)
    sys.exit(0 if show("A healthy target among ones that hang", lines) else 1)


if __name__ == "__main__":
    main()
