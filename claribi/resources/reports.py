"""`/reports/`: list, get, create, wait, delete."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Unpack

from pydantic import PrivateAttr

from claribi.answers import Reply
from claribi.blocking import Blocking, blocking, blocking_as, converted, run
from claribi.call import Call
from claribi.enums import ReportStatus
from claribi.errors import RequestInfo, TaskFailedError
from claribi.models import Page, Report, ReportStarted, ReportSummary
from claribi.pages import AsyncPages, ListOptions, Pages, list_params
from claribi.reading import reader
from claribi.reconcile import Reconciliation, since
from claribi.requests import ReportCreate, ReportParameters
from claribi.resources.base import Deleted, Resource, read_deleted
from claribi.retry import Kind
from claribi.urls import checked_id
from claribi.waiting import DEFAULT_WAIT_SECONDS, wait_until_done
from claribi.waker import News, Subject

_read_page = reader(Page[ReportSummary])
_read_one = reader(Report)
_read_started = reader(ReportStarted)

# The reference shows `generating` only; the others are what such APIs say while they work.
_UNFINISHED = frozenset({"generating", "pending", "queued", "processing", "running"})
_FAILED = frozenset({"failed", "error"})


class AsyncReportTask(ReportStarted):
    """A report that is being made."""

    _wait: Callable[[float | timedelta], Any] = PrivateAttr()

    async def wait(
        self,
        timeout: float | timedelta = DEFAULT_WAIT_SECONDS,  # noqa: ASYNC109 - as users say it
    ) -> Report:
        """The report, once it is made; see `Reports.wait`."""
        report: Report = await self._wait(timeout)
        return report


class ReportTask(ReportStarted):
    """A report that is being made."""

    _task: AsyncReportTask = PrivateAttr()

    @classmethod
    def of(cls, task: AsyncReportTask) -> "ReportTask":
        """The synchronous face of a task."""
        face = cls.model_validate(task.to_dict())
        face._task = task
        return face

    def wait(self, timeout: float | timedelta = DEFAULT_WAIT_SECONDS) -> Report:
        """The report, once it is made; see `Reports.wait`."""
        return run(self._task.wait(timeout))


class Reports(Resource):
    """The reports that the current user may see."""

    def list(
        self, *, status: ReportStatus | str | None = None, **options: Unpack[ListOptions]
    ) -> AsyncPages[ReportSummary]:
        """All reports, lazily. `status`: draft, published, scheduled."""
        return AsyncPages(
            self._run,
            "reports/",
            _read_page,
            list_params(options, status=status),
            self._engine.shared.base_url,
        )

    async def get(self, report_id: int | str) -> Report:
        """One report, with its content. Raises NotFoundError."""
        return await self._run(
            Call(method="GET", path=_path(report_id), kind=Kind.SAFE, read=_read_one)
        )

    async def create(
        self,
        *,
        name: str,
        template: str,
        data_source_ids: Sequence[int] | None = None,
        parameters: ReportParameters | Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> AsyncReportTask:
        """Have a report made; `.wait()` on the result waits for it. Costs 2 to 5 AI credits.

        Never sent twice if it may have happened: then OutcomeUnknownError.
        """
        if isinstance(parameters, ReportParameters):
            parameters = parameters.to_dict()
        body = ReportCreate.of(
            name=name,
            template=template,
            data_source_ids=data_source_ids,
            parameters=parameters,
            **(extra or {}),
        )
        call = Call(
            method="POST",
            path="reports/",
            kind=Kind.PAID,
            json=body.to_dict(),
            read=self._read_task,
            reconcile=lambda started_at: self._find(name, started_at),
        )
        return await self._run(call)

    async def wait(
        self,
        report_id: int | str,
        *,
        timeout: float | timedelta = DEFAULT_WAIT_SECONDS,  # noqa: ASYNC109 - as users say it
    ) -> Report:
        """The report, once it is made. `timeout` in seconds, or a timedelta.

        Raises TaskFailedError if its status is `failed` or `error`, WaitTimeoutError.
        """
        number = checked_id(report_id)
        subject = Subject("report", number)

        def is_done(report: Report, _news: News | None) -> bool:
            if report.status in _FAILED:
                reason = report.error or f"its status is {report.status}"
                raise TaskFailedError(f"{subject} failed: {reason}", subject=subject, last=report)
            return report.status not in _UNFINISHED

        return await wait_until_done(
            self._engine.shared, subject, lambda: self.get(number), is_done, timeout
        )

    async def delete(self, report_id: int | str) -> Deleted:
        """Delete a report."""
        return await self._run(
            Call(method="DELETE", path=_path(report_id), kind=Kind.SAFE, read=read_deleted)
        )

    def _read_task(self, reply: Reply, request: RequestInfo) -> AsyncReportTask:
        task = AsyncReportTask.model_validate(_read_started(reply, request).to_dict())
        task._wait = lambda timeout: self.wait(task.id, timeout=timeout)
        self._engine.shared.credits.learn(None, used=task.credits_used)
        return task

    async def _find(self, name: str, started_at: float) -> Reconciliation:
        listed = self.list(search=name, created_after=since(started_at))
        return Reconciliation(
            found=tuple([report async for report in listed if report.name == name]),
            note=f"reports named {name!r} created since the call",
        )


def _path(report_id: int | str) -> str:
    return f"reports/{checked_id(report_id)}/"


class BlockingReports(Blocking[Reports]):
    """The reports that the current user may see."""

    list = converted(Pages[ReportSummary], Reports.list)
    get = blocking(Reports.get)
    create = blocking_as(ReportTask.of, Reports.create)
    wait = blocking(Reports.wait)
    delete = blocking(Reports.delete)
