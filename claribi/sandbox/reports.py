"""`reports/`: list, show, generate and delete."""

from claribi.sandbox import balance, jobs
from claribi.sandbox.bodies import ReportCreate, ReportQuery
from claribi.sandbox.data_sources import check_usable
from claribi.sandbox.errors import not_found
from claribi.sandbox.incoming import Incoming, answer_list
from claribi.sandbox.records import Report, User
from claribi.sandbox.shapes import Page, ReportDetail, ReportStarted, ReportSummary
from claribi.sandbox.world import World


def list_reports(world: World, incoming: Incoming[ReportQuery]) -> Page[ReportSummary]:
    """The reports that the caller may see."""
    seen = [one for one in world.state.reports.values() if _is_visible(one, incoming.user)]
    return answer_list(incoming, seen, lambda one: _summary(world, one))


def get_report(world: World, incoming: Incoming[None]) -> ReportDetail:
    """One report with its content; null while it is generated, and after it failed."""
    return _detail(world, _find(world, incoming))


def create_report(world: World, incoming: Incoming[ReportCreate]) -> ReportStarted:
    """Start generating a report. The credits are spent at once, and stay spent if it fails."""
    body = incoming.input
    check_usable(world, body.data_source_ids)
    cost = report_cost(body)
    balance.spend(world, cost)
    report = Report(
        id=world.state.next_id("report"),
        name=body.name,
        status="generating",
        template=body.template,
        data_source_ids=body.data_source_ids,
        parameters=body.parameters,
        credits_used=cost,
        created_by_id=incoming.user.id,
        created_at=world.clock.moment(),
    )
    world.state.reports[report.id] = report
    task_id = report.task_id = jobs.start_report(world, report).task_id
    return ReportStarted(
        id=report.id,
        name=report.name,
        status="generating",
        task_id=task_id,
        credits_used=cost,
        estimated_completion=f"{jobs.REPORT_SECONDS} seconds",
    )


def delete_report(world: World, incoming: Incoming[None]) -> None:
    """Delete it, and stop generating it."""
    report = _find(world, incoming)
    jobs.cancel(world, "report", report.id)
    del world.state.reports[report.id]


def report_cost(body: ReportCreate) -> int:
    """2 to 5 credits: one more for each data source after the first, one for many parameters.

    Assumption: the reference gives the range and one example, two sources for 3 credits.
    """
    sources = len(set(body.data_source_ids))
    return min(5, 2 + max(0, sources - 1) + (len(body.parameters) > 2))


def _find(world: World, incoming: Incoming[None]) -> Report:
    report = world.state.reports.get(incoming.id)
    if report is None or not _is_visible(report, incoming.user):
        raise not_found("report", incoming.id)
    return report


def _is_visible(report: Report, user: User) -> bool:
    """Assumption: a viewer sees what is finished or scheduled."""
    return user.role != "viewer" or report.status in {"published", "scheduled"}


def _summary(world: World, report: Report) -> ReportSummary:
    return ReportSummary(
        id=report.id,
        name=report.name,
        status=report.status,
        template=report.template,
        schedule=report.schedule,
        last_generated_at=report.last_generated_at,
        created_by=world.author(report.created_by_id),
        created_at=report.created_at,
    )


def _detail(world: World, report: Report) -> ReportDetail:
    shape = ReportDetail(
        **dict(_summary(world, report)),
        data_source_ids=report.data_source_ids,
        parameters=report.parameters,
        task_id=report.task_id,
        credits_used=report.credits_used,
        content=report.content,
    )
    if report.error is not None:
        shape.error = report.error
    return shape
