"""The handler author's API, as mypy --strict must accept it. Checked, never run."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from claribi.models import DataSource
from receiver import Context, Event, Reject, Retry, Skip, on
from receiver.events import ClariBIEvent, SyncCompleted, SyncFailed
from receiver.testing import HandlerRun, run_handler


@on("data_source.sync_failed", attempts=5, timeout="30s", key="data.data_source_id")
async def alert_and_resync(event: SyncFailed, ctx: Context) -> None:
    if event.data.data_source_id is None:
        raise Skip("no data source")
    source: DataSource = await ctx.claribi.data_sources.get(event.data.data_source_id)
    seen: int = await ctx.store.get("seen", 0)
    await ctx.store.set("seen", seen + 1)
    await ctx.store.delete("old")
    ctx.log.info("sync.failed", source=source.name, attempt=ctx.attempt)
    ctx.notify("ops", title=f"{source.name} failed", body="…", severity="critical")


@on("data_source.*", "goal.*", name="everything", schedule=["5s", 30, timedelta(minutes=2)])
async def generic(event: ClariBIEvent, ctx: Context) -> None:
    if ctx.replaying or event.data.get("id") is None:
        raise Retry(after=timedelta(minutes=5))
    response = await ctx.http.get("https://example.com/", headers={"k": ctx.idempotency_key})
    response.raise_for_status()


@on("*", concurrency=2, timeout=timedelta(seconds=5))
def synchronous(event: Event) -> None:
    raise Reject(event.type)


@on("data_source.*")
async def either(event: SyncFailed | SyncCompleted) -> None:
    if isinstance(event, SyncCompleted):
        print(event.data.records_synced)


class Push(BaseModel):
    ref: str


@on("push")
async def pushed(event: Push) -> None: ...


@dataclass
class Payment:
    amount: int


@on("payment_intent.succeeded")
async def paid(event: Payment) -> None: ...


@on("issues.opened")
async def plain(event: dict[str, Any]) -> None: ...


run: HandlerRun = run_handler(pushed, {"ref": "main"}, attempt=2, store={"seen": 1})

on("x", atempts=3)  # type: ignore[arg-type]
on()  # type: ignore[call-arg]
