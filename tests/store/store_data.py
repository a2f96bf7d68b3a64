"""Events, deliveries and ends for the tests of the store."""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from receiver.model import (
    Attachment,
    DeliveryId,
    Message,
    NewDelivery,
    NewEvent,
    Outcome,
    Severity,
    State,
)
from receiver.store.base import Claim, Finish, Store
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

OpenSqlite = Callable[..., AbstractAsyncContextManager[SqliteStore]]
"""What the fixture `opened` gives."""

TYPE = "data_source.sync_failed"
BODY = b'{"event": "data_source.sync_failed", "data": {"data_source_id": 7}}'
HANDLER = "sync_failed.alert"
FAR_MS = 10**13
"""A moment after any that a test makes."""

FILE = Attachment(name="table.csv", content_type="text/csv", content=b"a,b\r\n\x00\xff")
MESSAGE = Message(
    channel="ops",
    title="It failed ✗",
    body="<b>why</b>",
    severity=Severity.CRITICAL,
    format="html",
    attachments=(FILE,),
    bodies={"text": "why ✗", "markdown": "**why**"},
)

_counter = itertools.count()


def now_ms() -> int:
    return int(time.time() * 1000)


def event(*, key: str | None = None, **changes: Any) -> NewEvent:
    """An event; `key` is what makes two the same message."""
    key = f"message {next(_counter)}" if key is None else key
    now = changes.pop("received_ms", now_ms())
    whole = NewEvent(
        id=new_event_id(now),
        source="claribi",
        type=TYPE,
        received_ms=now,
        body=BODY,
        headers="host: a\r\nx-two: 1\r\nx-two: 2",
        message_id=None,
        secret_index=0,
        dedupe_key=hashlib.sha256(key.encode()).digest(),
    )
    return whole._replace(**changes)


def handler(
    name: str = HANDLER, *, attempts: int = 8, key: str | None = None, steps_aside: bool = False
) -> NewDelivery:
    return NewDelivery("handler", name, attempts, key, steps_aside=steps_aside)


async def record_one(store: Store, new: NewDelivery | None = None, **changes: Any) -> DeliveryId:
    """Record an event with one delivery; its number."""
    recorded = await store.record(event(**changes), [new or handler()])
    return recorded.delivery_ids[0]


async def claim_one(store: Store, name: str = HANDLER, *, at_ms: int = FAR_MS) -> Claim:
    (claim,) = await store.claim({name: 1}, now_ms=at_ms)
    return claim


def end(claim: Claim, state: State = State.SUCCEEDED, **changes: Any) -> Finish:
    """How the claimed attempt ended; a retry is due at once."""
    outcomes = {State.SUCCEEDED: Outcome.DELIVERED, State.RETRYING: Outcome.TRANSIENT,
                State.DEAD: Outcome.PERMANENT}  # fmt: skip
    finish = Finish(
        claim.delivery_id,
        claim.attempt,
        now_ms(),
        1.5,
        state,
        outcomes[state],
        due_ms=now_ms() if state is State.RETRYING else None,
        key=claim.key,
        error_class=None if state is State.SUCCEEDED else "ValueError",
        error=None if state is State.SUCCEEDED else "no such source",
        reason="no such source" if state is State.DEAD else None,
    )
    return finish._replace(**changes)


async def finish(store: Store, ended: Finish) -> None:
    """Have it committed; raises what the store answers."""
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(ended, told.set_result)
    error = await told
    if error is not None:
        raise error


async def die(store: SqliteStore) -> None:
    """End the store as a killed process does: nothing is given back, the lock goes."""
    assert store._leases is not None
    store._leases.worker_id = 0
    await store.close()
