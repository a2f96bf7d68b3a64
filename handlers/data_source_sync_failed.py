"""data_source.sync_failed: says what broke and since when, and asks for one re-sync.

Failures of one data source with no success in between are a streak. A streak gets one re-sync;
its third failure is critical. A success closes it, so this handler sees both events: with one
`key`, events of one data source are handled in order, and one handler has one store.
"""

import asyncio
from datetime import datetime

from pydantic import BaseModel

from claribi import ApiStatusError, ClariBIError
from claribi.models import DataSource
from receiver import Context, on
from receiver.errors import ConfigError
from receiver.events import SyncCompleted, SyncFailed

CHANNEL = "ops"
ESCALATE_AT = 3
"""The failure in a row from which on the message is critical."""
API_SECONDS = 10
"""Longest wait for each answer of clariBI; the message goes out without it."""


class Streak(BaseModel):
    """Failures in a row of one data source."""

    since: datetime
    failures: int = 0
    is_resynced: bool = False


@on("data_source.sync_failed", "data_source.sync_completed", key="data.data_source_id")
async def alert_and_resync(event: SyncFailed | SyncCompleted, ctx: Context) -> None:
    key = f"streak/{event.data.data_source_id}"
    if isinstance(event, SyncCompleted):
        if not ctx.replaying:
            await ctx.store.delete(key)
        return

    streak = Streak.model_validate(await ctx.store.get(key, {"since": event.timestamp}))
    if not ctx.replaying:
        streak.failures += 1
    source, source_text = await describe_source(event, ctx)
    resync = await resync_once(event, streak, ctx)
    if event.data.data_source_id is not None and not ctx.replaying:
        await ctx.store.set(key, streak.model_dump(mode="json"))

    ctx.notify(
        CHANNEL,
        template="data_source.sync_failed",
        values={
            "name": event.data.data_source_name or (source and source.name),
            "failures": streak.failures,
            "since": streak.since,
            "error": event.data.error,
            "data_source": source_text,
            "resync": resync,
        },
        severity="critical" if streak.failures >= ESCALATE_AT else "warning",
    )


async def describe_source(event: SyncFailed, ctx: Context) -> tuple[DataSource | None, str]:
    """The data source and what to say of it, or None and why there is none."""
    source_id = event.data.data_source_id
    if source_id is None:
        return None, "the event does not say which"
    try:
        async with asyncio.timeout(API_SECONDS):
            source = await ctx.claribi.data_sources.get(source_id)
    except (ClariBIError, ConfigError, TimeoutError) as error:
        return None, f"could not be fetched ({str(error) or 'no answer in time'})"
    last = source.last_synced_at
    synced = f"last synced {last:%Y-%m-%d %H:%M} UTC" if last else "never synced"
    return source, f"{source.name}, {source.engine}, {source.status}, {synced}"


async def resync_once(event: SyncFailed, streak: Streak, ctx: Context) -> str:
    """Ask for a re-sync if the streak had none; what to say of it.

    A run that was cut off may have asked already, which nobody wrote down. So only the first
    attempt asks: better no re-sync than two.
    """
    if ctx.replaying or event.data.data_source_id is None:
        return "not asked for"
    if streak.is_resynced:
        return "was asked for earlier in this streak; have a look"
    streak.is_resynced = True
    if ctx.attempt > 1:
        return "may have been asked for"
    try:
        async with asyncio.timeout(API_SECONDS):
            started = await ctx.claribi.data_sources.sync(event.data.data_source_id)
    except (ApiStatusError, ConfigError) as error:
        streak.is_resynced = False  # refused, so the next failure may ask again
        return f"could not be started ({error})"
    except (ClariBIError, TimeoutError) as error:
        return f"may have been started ({str(error) or 'no answer in time'})"
    return f"started, takes about {started.estimated_duration or 'an unknown time'}"
