"""data_source.sync_completed: quiet, unless the sync brought nothing or was unusually slow."""

from statistics import median

from receiver import Context, on
from receiver.charts import Chart, Line, draw, sparkline
from receiver.events import SyncCompleted

CHANNEL = "ops"
SLOW_FACTOR = 3
"""How many times the usual duration is worth a message."""
MIN_RUNS = 3
"""With fewer earlier runs, nothing can be called usual."""
REMEMBERED_RUNS = 20


@on("data_source.sync_completed", key="data.data_source_id")
async def watch_syncs(event: SyncCompleted, ctx: Context) -> None:
    sync = event.data
    key = f"durations/{sync.data_source_id}"
    durations: list[float] = await ctx.store.get(key, [])

    oddities = find_oddities(sync.records_synced, sync.duration_seconds, durations)
    if oddities:
        history = [*durations, sync.duration_seconds]
        picture = await draw(duration_history(history), name="durations.png") if durations else None
        ctx.notify(
            CHANNEL,
            template="data_source.sync_completed",
            values={
                "oddities": oddities,
                "usual": median(durations) if len(durations) >= MIN_RUNS else None,
                "durations": sparkline(history) if durations and picture is None else None,
            },
            severity="warning",
            attachments=[picture] if picture else [],
        )

    if not ctx.replaying:  # history must not count twice
        recent = [*durations, sync.duration_seconds][-REMEMBERED_RUNS:]
        await ctx.store.set(key, recent)


def duration_history(seconds: list[float]) -> Chart:
    """How long the latest syncs took, the newest to the right."""
    runs = list(range(1 - len(seconds), 1))
    usual = median(seconds[:-1])
    return Chart(
        title="Duration of the latest syncs",
        lines=[
            Line(xs=runs, ys=seconds, label="seconds", style="o-"),
            Line(xs=[runs[0], 0], ys=[usual, usual], label="usual", style="--"),
        ],
        x_label="syncs ago",
        y_label="seconds",
    )


def find_oddities(records: int, seconds: float, earlier: list[float]) -> list[str]:
    """What is odd about a sync, in words; empty if nothing is. `earlier` holds seconds."""
    oddities = []
    if records == 0:
        oddities.append("the sync brought 0 records")
    usual = median(earlier) if len(earlier) >= MIN_RUNS else 0
    if usual and seconds > SLOW_FACTOR * usual:
        oddities.append(f"the sync took {seconds:g} s, usual is {usual:g} s")
    return oddities
