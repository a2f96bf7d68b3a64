"""The peer: huey with its SQLite storage, every commit synced, behind the same signature check.

Its consumer runs the task in a process of its own: `huey_consumer huey_intake.huey`.
"""

import hashlib
import hmac
import os

from huey import SqliteHuey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = os.environ["BENCH_SECRET"].encode()
huey = SqliteHuey(filename=os.environ["BENCH_HOME"] + "/huey.db", fsync=True)


@huey.task()
def handle(_body: bytes) -> None:
    """Do nothing."""


async def receive(request: Request) -> Response:
    """Verify, enqueue, answer."""
    body = await request.body()
    elements = dict(
        part.split("=", 1) for part in request.headers["x-claribi-signature"].split(",")
    )
    signed = elements["t"].encode() + b"." + body
    digest = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(elements["v1"], digest):
        return Response(status_code=401)
    # On the loop, not in a thread: a commit is shorter than a hand-over, and one writer is all
    # that SQLite has.
    handle(body)
    return Response(b'{"id": "evt_0", "duplicate": false}', 202, media_type="application/json")


app = Starlette(routes=[Route("/hooks/claribi", receive, methods=["POST"])])
