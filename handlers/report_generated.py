"""report.generated: tells that a report is ready, who made it and where it is."""

import asyncio

from claribi import ClariBIError
from claribi.models import Report
from receiver import Context, on
from receiver.errors import ConfigError
from receiver.events import ReportGenerated

CHANNEL = "ops"
REPORT_URL = "https://claribi.com/reports/{id}/"
"""Where people read a report. The API reference gives no such address: change it if need be."""
API_SECONDS = 10
"""Longest wait for clariBI's answer; the message goes out without it."""


@on("report.generated")
async def announce(event: ReportGenerated, ctx: Context) -> None:
    report, trouble = await fetch_report(event, ctx)
    name = report.name if report else event.data.report_name
    author = report.created_by.name if report and report.created_by else ""
    link = REPORT_URL.format(id=event.data.report_id) if event.data.report_id else ""
    ctx.notify(
        CHANNEL,
        template="report.generated",
        values={"name": name, "author": author, "report_url": link, "trouble": trouble},
        severity="success",
    )


async def fetch_report(event: ReportGenerated, ctx: Context) -> tuple[Report | None, str]:
    """The report, or None and why it could not be fetched."""
    if event.data.report_id is None:
        return None, "The event does not say which report it is."
    try:
        async with asyncio.timeout(API_SECONDS):
            return await ctx.claribi.reports.get(event.data.report_id), ""
    except (ClariBIError, ConfigError, TimeoutError) as error:
        return None, f"The report could not be fetched: {str(error) or 'no answer in time'}"
