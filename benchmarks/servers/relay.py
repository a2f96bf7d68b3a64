"""The peer: PyPI's hookrelay, as its README sets it up, with the same signature checked."""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from hookrelay.backends.sqlite import SQLiteBackend
from hookrelay.fastapi import create_webhook_router
from sqlalchemy.ext.asyncio import create_async_engine

SECRET = os.environ["BENCH_SECRET"].encode()
backend = SQLiteBackend(create_async_engine(os.environ["BENCH_DATABASE"]))


def verify(body: bytes, headers: Mapping[str, str]) -> bool:
    """The `claribi` scheme, without its tolerance."""
    elements = dict(part.split("=", 1) for part in headers["x-claribi-signature"].split(","))
    signed = elements["t"].encode() + b"." + body
    return hmac.compare_digest(elements["v1"], hmac.new(SECRET, signed, hashlib.sha256).hexdigest())


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables."""
    await backend.init_schema()
    yield


app = FastAPI(lifespan=lifespan)
app.include_router(
    create_webhook_router(
        backend=backend, source="claribi", path="/hooks/claribi", verify_signature=verify
    )
)
