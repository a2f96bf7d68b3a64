"""The peer: PyPI's hookrelay, as its README sets it up, with the same signature checked."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from hookrelay import WebhookEvent, Worker
from hookrelay.backends.sqlite import SQLiteBackend
from hookrelay.fastapi import create_webhook_router
from sqlalchemy.ext.asyncio import create_async_engine

SECRET = os.environ["BENCH_SECRET"].encode()
backend = SQLiteBackend(
    create_async_engine(f"sqlite+aiosqlite:///{os.environ['BENCH_HOME']}/relay.db")
)


def verify(body: bytes, headers: Mapping[str, str]) -> bool:
    """The `claribi` scheme, without its tolerance."""
    elements = dict(part.split("=", 1) for part in headers["x-claribi-signature"].split(","))
    signed = elements["t"].encode() + b"." + body
    return hmac.compare_digest(elements["v1"], hmac.new(SECRET, signed, hashlib.sha256).hexdigest())


async def handle(_event: WebhookEvent) -> None:
    """Do nothing."""


def make_app(*, works: bool) -> FastAPI:
    """The app; its worker, if asked for, runs in it: the SQLite backend allows no other process."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await backend.init_schema()
        if not works:
            yield
            return
        # Larger batches and shorter pauses than it has by itself: it is faster with them.
        worker = Worker(backend, handle, batch_size=100, poll_interval=0.01, concurrency=10)
        working = asyncio.create_task(worker.run_forever())
        yield
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    made = FastAPI(lifespan=lifespan)
    made.include_router(
        create_webhook_router(
            backend=backend, source="claribi", path="/hooks/claribi", verify_signature=verify
        )
    )
    return made


app = make_app(works=False)
