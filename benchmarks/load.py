"""Loads a server on loopback with wrk, which sends distinct requests signed beforehand."""

import hashlib
import hmac
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECRET = "made-up-benchmark-secret-0123456789"
CONNECTIONS = 64
EVENT = "data_source.sync_completed"
FIRST_ID = 1_000_000

_SCRIPT = """
local file = io.open("{path}", "rb")
local data = file:read("*a")
file:close()
local size, count, next_one = {size}, {count}, 0
function request()
    local start = next_one * size
    next_one = (next_one + 1) % count
    return data:sub(start + 1, start + size)
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    requests: int
    seconds: float
    failures: int
    """Answers other than 2xx, and socket errors."""


def find_wrk() -> str:
    """wrk's path; ends the program with a hint if it is not installed."""
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit("this benchmark needs wrk: apt-get install wrk")
    return path


def signed_request(number: int) -> bytes:
    """A whole request of a distinct, validly signed event; all are of one size.

    `number` is found again in its `data_source_id`, a million higher.
    """
    body = json.dumps(
        {
            "event": EVENT,
            "timestamp": "2025-07-15T08:00:00Z",
            "data": {
                "data_source_id": FIRST_ID + number,
                "data_source_name": "Production PostgreSQL",
                "records_synced": 15_420,
                "duration_seconds": 45,
            },
        }
    ).encode()
    now = int(time.time())
    signature = hmac.digest(SECRET.encode(), b"%d." % now + body, hashlib.sha256).hex()
    head = (
        "POST /hooks/claribi HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "User-Agent: clariBI-Webhooks/1.0\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-ClariBI-Signature: t={now},v1={signature}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def signed_requests(count: int, *, first: int = 0) -> Iterator[Path]:
    """A wrk script that sends `count` distinct requests, from that number on, then begins again.

    For five minutes: then they are too old.
    """
    parts = [signed_request(number) for number in range(first, first + count)]
    size = len(parts[0])
    assert all(len(part) == size for part in parts), "the script finds requests by their size"
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "requests"), Path(folder, "load.lua")
        data.write_bytes(b"".join(parts))
        script.write_text(_SCRIPT.format(path=data, size=size, count=count), "utf-8")
        yield script


def load(url: str, script: Path, *, seconds: int) -> Load:
    """Load a server for so long, at 64 connections."""
    command = [find_wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s",
               str(script), url]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", output))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests_per_second=float(_find(r"Requests/sec:\s+([\d.]+)", output)),
        p50_ms=_milliseconds(_find(r"50%\s+([\d.]+\w+)", output)),
        p99_ms=_milliseconds(_find(r"99%\s+([\d.]+\w+)", output)),
        requests=int(_find(r"(\d+) requests in", output)),
        seconds=_milliseconds(_find(r"requests in ([\d.]+\w+),", output)) / 1000,
        failures=errors + (int(refused[1]) if refused else 0),
    )


def _find(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    assert match is not None, f"wrk printed no {pattern}: {output}"
    return match[1]


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert match is not None, f"wrk prints no such time: {text}"
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[match[2]]
