"""billing.credits_low: what was used, when the credits run out, and what a larger plan costs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from claribi import AsyncClariBI, ClariBIError
from claribi.models import PricingConfig, Usage
from receiver import Context, on
from receiver.charts import Chart, Line, draw, sparkline
from receiver.errors import ConfigError
from receiver.events import CreditsLow

CHANNEL = "ops"
API_SECONDS = 10
"""Longest wait for each answer of clariBI; the message goes out without it."""

REMEMBERED = 60
"""How many of a period's events, each with the credits that were left, the picture shows."""

T = TypeVar("T")
Row = tuple[object, ...]


@on("billing.credits_low")
async def warn(event: CreditsLow, ctx: Context) -> None:
    usage, no_usage = await fetch(ctx, "usage", lambda api: api.billing.usage())
    pricing, no_pricing = await fetch(ctx, "pricing", lambda api: api.billing.pricing_config())
    # A replay asks for today's usage, however old its event is.
    today = datetime.now(UTC).date() if ctx.replaying else event.timestamp.date()

    burn_down = await remember(usage, today, ctx) if usage else None
    picture = await draw(burn_down, name="credits.png") if burn_down else None

    ctx.notify(
        CHANNEL,
        template="billing.credits_low",
        values={
            "remaining": usage.ai_credits.remaining if usage else event.data.remaining,
            "total": usage.ai_credits.total if usage else event.data.total,
            "usage": usage_table(usage) if usage else None,
            "bars": sparkline(burn_down.lines[0].ys) if burn_down and not picture else None,
            "forecast": forecast(usage, today) if usage else None,
            "pricing": pricing_table(pricing, usage.plan if usage else None) if pricing else None,
            "trouble": [no_usage, no_pricing],
        },
        severity="warning",
        attachments=[picture] if picture else [],
    )


async def remember(usage: Usage, today: date, ctx: Context) -> Chart:
    """The credits left over this period, with what earlier events knew; kept for the next one."""
    period = usage.billing_period
    key = f"credits/{period.start}"
    kept: list[tuple[str, float]] = await ctx.store.get(key, [])
    left = usage.ai_credits.remaining
    points = [(date.fromisoformat(day), were_left) for day, were_left in kept]
    points = [point for point in points if point[0] < today] + [(today, left)]
    if not ctx.replaying:
        recent = [(day.isoformat(), were_left) for day, were_left in points[-REMEMBERED:]]
        await ctx.store.set(key, recent)

    known = Line(
        xs=[at_noon(period.start), *(at_noon(day) for day, _ in points)],
        ys=[usage.ai_credits.total, *(were_left for _, were_left in points)],
        label="left",
        style="o-",
    )
    lines, marks = [known], [(at_noon(period.end), "period ends")]
    day = run_out_day(usage, today)
    if day is not None and day <= period.end:
        lines.append(
            Line(xs=[at_noon(today), at_noon(day)], ys=[left, 0], label="at this rate", style="--")
        )
    return Chart(title="AI credits left", lines=lines, marks=marks)


def at_noon(day: date) -> datetime:
    """The day as a moment for a chart's axis."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


async def fetch(
    ctx: Context, what: str, call: Callable[[AsyncClariBI], Awaitable[T]]
) -> tuple[T | None, str]:
    """The API's answer, or None and why there is none."""
    try:
        async with asyncio.timeout(API_SECONDS):
            return await call(ctx.claribi), ""
    except (ClariBIError, ConfigError, TimeoutError) as error:
        return None, f"The {what} could not be fetched: {str(error) or 'no answer in time'}"


def forecast(usage: Usage, today: date) -> str:
    """On which day the credits run out, if they go on being used as in this period so far."""
    period = usage.billing_period
    day = run_out_day(usage, today)
    if day is None:
        return "No credits were used in this period, so there is no forecast."
    if day > period.end:
        return f"At this rate they last until the period ends on {period.end:%A, %d %B %Y}."
    return f"At this rate they run out on {day:%A, %d %B %Y}."


def run_out_day(usage: Usage, today: date) -> date | None:
    """The day on which the last credit is used; None if none is being used."""
    days = max(1, (today - usage.billing_period.start).days + 1)
    per_day = usage.ai_credits.used / days
    if per_day <= 0:
        return None
    # Far enough to be "never", near enough to be a date.
    return today + timedelta(days=min(usage.ai_credits.remaining / per_day, 36_500))


def usage_table(usage: Usage) -> str:
    """What was used of what, in this period."""
    rows: list[Row] = [("AI credits", usage.ai_credits.used, usage.ai_credits.total)]
    if usage.data_sources:
        rows.append(("Data sources", usage.data_sources.used, usage.data_sources.limit))
    if usage.users:
        rows.append(("Users", usage.users.active, usage.users.limit))
    return table(("", "used", "of"), rows)


def pricing_table(pricing: PricingConfig, current: str | None) -> str:
    """All plans; the current one is marked."""
    return table(
        ("Plan", "price", "AI credits", "users", "data sources"),
        [
            (
                f"{plan.name} (yours)" if plan.slug == current else plan.name,
                plan.price,
                plan.ai_credits,
                plan.users,
                plan.data_sources,
            )
            for plan in pricing.plans
        ],
    )


def table(head: tuple[str, ...], rows: list[Row]) -> str:
    """Columns as wide as their longest cell: names to the left, numbers to the right."""
    cells = [head, *(tuple("" if c is None else str(c) for c in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
