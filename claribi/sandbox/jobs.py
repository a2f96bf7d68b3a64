"""Syncs and reports: they start, take the sandbox's time, and end well or badly."""

import hashlib

from claribi.sandbox.events import Data, emit
from claribi.sandbox.records import DataSource, Goal, Job, JobKind, Report
from claribi.sandbox.seed_content import report_content
from claribi.sandbox.world import World

REPORT_SECONDS = 30
MILESTONES = (25, 50, 75, 100)
"""Per cent of a goal's target. Assumption: the reference names no values."""

_FIRST_TASK: dict[JobKind, str] = {"sync": "abc123-def456", "report": "xyz789"}


def start_sync(world: World, source: DataSource) -> Job:
    """A sync of this source, under way."""
    error = _planned_failure(world, "sync") or source.sync_error
    return _start(world, "sync", source.id, source.sync_seconds, error)


def start_report(world: World, report: Report) -> Job:
    """A report being generated; one that needs a broken data source will fail."""
    sources = world.state.data_sources
    broken = [
        source.name
        for number in report.data_source_ids
        if (source := sources.get(number)) and source.status == "error"
    ]
    error = _planned_failure(world, "report")
    if error is None and broken:
        error = f"Data source {broken[0]} could not be read"
    return _start(world, "report", report.id, REPORT_SECONDS, error)


def running_job(world: World, kind: JobKind, resource_id: int) -> Job | None:
    """The job of this kind that is under way for a resource."""
    for job in world.state.jobs:
        if job.kind == kind and job.resource_id == resource_id:
            return job
    return None


def cancel(world: World, kind: JobKind, resource_id: int) -> None:
    """Forget a job whose resource is gone; it sends nothing."""
    jobs = world.state.jobs
    jobs[:] = [job for job in jobs if (job.kind, job.resource_id) != (kind, resource_id)]


def settle(world: World) -> None:
    """End every job whose time has come, in the order in which they end."""
    now = world.clock.now()
    due = sorted((job for job in world.state.jobs if job.ends_at <= now), key=lambda j: j.ends_at)
    for job in due:
        world.state.jobs.remove(job)
        if job.kind == "sync":
            _finish_sync(world, job)
        else:
            _finish_report(world, job)
    if due:
        world.bell.ring()


def _start(world: World, kind: JobKind, resource_id: int, seconds: int, error: str | None) -> Job:
    job = Job(
        task_id=_task_id(kind, world.state.next_id(f"{kind}_task")),
        kind=kind,
        resource_id=resource_id,
        duration_seconds=seconds,
        ends_at=world.clock.after(seconds),
        error=error,
    )
    world.state.jobs.append(job)
    world.bell.ring()
    return job


def _task_id(kind: JobKind, number: int) -> str:
    """The first ones are the reference's own; later ones look like them."""
    if number == 1:
        return _FIRST_TASK[kind]
    digits = hashlib.sha256(f"{kind} {number}".encode()).hexdigest()
    return f"{digits[:6]}-{digits[6:12]}" if kind == "sync" else digits[:6]


def _planned_failure(world: World, kind: JobKind) -> str | None:
    planned = world.state.failing_jobs.get(kind, [])
    return planned.pop(0) if planned else None


def _finish_sync(world: World, job: Job) -> None:
    source = world.state.data_sources[job.resource_id]
    data: Data = {"data_source_id": source.id, "data_source_name": source.name}
    if job.error is not None:
        source.status = "error"
        data |= {"error": job.error, "duration_seconds": job.duration_seconds}
        emit(world, "data_source.sync_failed", data)
        return
    source.status = "active"
    source.last_synced_at = world.clock.moment(job.ends_at)
    data |= {"records_synced": source.records_per_sync, "duration_seconds": job.duration_seconds}
    emit(world, "data_source.sync_completed", data)
    for goal in world.state.goals.values():
        if goal.data_source_id == source.id:
            _move_goal(world, goal, source.records_per_sync * goal.value_per_record)


def _finish_report(world: World, job: Job) -> None:
    """A report that fails sends nothing: the reference has no event for it."""
    report = world.state.reports[job.resource_id]
    if job.error is not None:
        report.status, report.error = "failed", job.error
        return
    report.status = "published"
    report.last_generated_at = world.clock.moment(job.ends_at)
    report.content = report_content(report.name, report.template)
    data: Data = {
        "report_id": report.id,
        "report_name": report.name,
        "status": report.status,
        "task_id": report.task_id,
        "credits_used": report.credits_used,
    }
    emit(world, "report.generated", data)


def _move_goal(world: World, goal: Goal, gained: float) -> None:
    """Only the highest milestone that was passed is told."""
    before = 100 * goal.current_value / goal.target_value
    goal.current_value = round(goal.current_value + gained, 2)
    after = 100 * goal.current_value / goal.target_value
    reached = [milestone for milestone in MILESTONES if before < milestone <= after]
    if reached:
        data: Data = {
            "goal_id": goal.id,
            "goal_name": goal.name,
            "milestone": reached[-1],
            "current_value": goal.current_value,
            "target_value": goal.target_value,
        }
        emit(world, "goal.milestone_reached", data)
