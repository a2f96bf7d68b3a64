"""What happens at the demo's clariBI: scenes that end in webhooks, all five kinds of them."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle

from claribi import AsyncClariBI
from claribi.sandbox import Sandbox

Play = Callable[[], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Something that happens, and the events that come of it, in order."""

    title: str
    play: Play
    events: tuple[str, ...]


# Data sources of the sandbox, and what goes wrong with them.
_BROKEN = (
    (6, "Data Warehouse", "Warehouse REPORTING is suspended: its quota is used up"),
    (4, "Stripe Payments", "401 from api.stripe.example.com: the key was revoked"),
    (7, "Support Tickets CSV", "uploads/7: no such file"),
)
_REPORTS = ("Board report", "Churn by plan", "Pipeline review")
_GOALS = (("Q3 revenue", 100_000), ("New customers", 500), ("Net promoter score", 60))


def scenes(sandbox: Sandbox, client: AsyncClariBI) -> Iterator[Scene]:
    """Round after round, without end; one round has each of the five events once."""
    numbers = count(1)
    for broken, report, goal in zip(cycle(_BROKEN), cycle(_REPORTS), cycle(_GOALS), strict=True):
        number = next(numbers)
        yield _failing_sync(sandbox, client, *broken)
        yield _report(client, report if number <= len(_REPORTS) else f"{report} {number}")
        yield _milestone(sandbox, number, *goal)
        yield _low_credits(sandbox)


def _failing_sync(
    sandbox: Sandbox, client: AsyncClariBI, source_id: int, name: str, error: str
) -> Scene:
    async def play() -> None:
        # The sync that is asked for fails; the handler's own one goes well and brings nothing.
        sandbox.fail_next_job("sync", error)
        sandbox.state.data_sources[source_id].records_per_sync = 0
        await client.data_sources.sync(source_id)

    return Scene(
        title=f"{name} is synced, and that fails. Its handler asks for one more sync.",
        play=play,
        events=("data_source.sync_failed", "data_source.sync_completed"),
    )


def _report(client: AsyncClariBI, name: str) -> Scene:
    async def play() -> None:
        await client.reports.create(name=name, template="revenue_analysis", data_source_ids=[1, 3])

    return Scene(title=f"{name!r} is generated.", play=play, events=("report.generated",))


def _milestone(sandbox: Sandbox, number: int, name: str, target: float) -> Scene:
    async def play() -> None:
        await sandbox.fire(
            "goal.milestone_reached",
            goal_id=number,
            goal_name=name,
            milestone=75,
            current_value=0.75 * target,
            target_value=target,
        )

    return Scene(
        title=f"The goal {name!r} reaches 75 %.", play=play, events=("goal.milestone_reached",)
    )


def _low_credits(sandbox: Sandbox) -> Scene:
    async def play() -> None:
        total = sandbox.state.credits_total
        sandbox.set_credits(total)  # bought anew since the last round
        sandbox.set_credits(total // 10 - 1)

    return Scene(
        title="The AI credits fall below 10 %.", play=play, events=("billing.credits_low",)
    )
