"""`/data-sources/`: list, get, create, sync, delete."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from pydantic import PrivateAttr

from claribi.answers import Reply
from claribi.blocking import Blocking, blocking, blocking_as, converted, run
from claribi.call import Call
from claribi.enums import DataSourceStatus, DataSourceType
from claribi.errors import RequestInfo, TaskFailedError
from claribi.models import DataSource, DataSourceSummary, Page, SyncStarted
from claribi.pages import AsyncPages, ListOptions, Pages, list_params
from claribi.reading import reader
from claribi.reconcile import Reconciliation, since
from claribi.requests import DatabaseConfiguration, DataSourceCreate
from claribi.resources.base import Deleted, Resource, read_deleted
from claribi.retry import Kind, http_date
from claribi.urls import checked_id
from claribi.waiting import DEFAULT_WAIT_SECONDS, Judge, wait_until_done
from claribi.waker import News, Subject

_read_page = reader(Page[DataSourceSummary])
_read_one = reader(DataSource)
_read_started = reader(SyncStarted)


class AsyncSyncTask(SyncStarted):
    """A sync that was started."""

    _wait: Callable[[float | timedelta], Any] = PrivateAttr()

    async def wait(
        self,
        timeout: float | timedelta = DEFAULT_WAIT_SECONDS,  # noqa: ASYNC109 - as users say it
    ) -> DataSource:
        """The data source, once the sync has ended; see `DataSources.wait`."""
        source: DataSource = await self._wait(timeout)
        return source


class SyncTask(SyncStarted):
    """A sync that was started."""

    _task: AsyncSyncTask = PrivateAttr()

    @classmethod
    def of(cls, task: AsyncSyncTask) -> "SyncTask":
        """The synchronous face of a task."""
        face = cls.model_validate(task.to_dict())
        face._task = task
        return face

    def wait(self, timeout: float | timedelta = DEFAULT_WAIT_SECONDS) -> DataSource:
        """The data source, once the sync has ended; see `DataSources.wait`."""
        return run(self._task.wait(timeout))


class DataSources(Resource):
    """The organization's data sources."""

    def list(
        self,
        *,
        status: DataSourceStatus | str | None = None,
        type: DataSourceType | str | None = None,  # noqa: A002 - the API's own word
        **options: Unpack[ListOptions],
    ) -> AsyncPages[DataSourceSummary]:
        """All data sources, lazily. `status`: active, paused, error; `type`: database, api, …"""
        return AsyncPages(
            self._run,
            "data-sources/",
            _read_page,
            list_params(options, status=status, type=type),
            self._engine.shared.base_url,
        )

    async def get(self, source_id: int | str) -> DataSource:
        """One data source, with its configuration and tables. Raises NotFoundError."""
        return await self._run(
            Call(method="GET", path=_path(source_id), kind=Kind.SAFE, read=_read_one)
        )

    async def create(
        self,
        *,
        name: str,
        type: DataSourceType | str,  # noqa: A002 - the API's own word
        engine: str,
        configuration: DatabaseConfiguration | Mapping[str, Any] | None = None,
        sync_frequency: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> DataSource:
        """A new data source. Raises ConflictError for a name that exists, ValidationError.

        `extra` is sent as it is, for fields that the reference doesn't know.
        """
        if isinstance(configuration, DatabaseConfiguration):
            configuration = configuration.to_dict()
        body = DataSourceCreate.of(
            name=name,
            type=type,
            engine=engine,
            configuration=configuration,
            sync_frequency=sync_frequency,
            **(extra or {}),
        )
        call = Call(
            method="POST",
            path="data-sources/",
            kind=Kind.CREATE,
            json=body.to_dict(),
            read=_read_one,
            reconcile=lambda started_at: self._find(name, started_at),
        )
        return await self._run(call)

    async def sync(self, source_id: int | str) -> AsyncSyncTask:
        """Start a sync; `.wait()` on the result waits for its end.

        While one runs, the server may answer 409 or 422 (the reference doesn't say).
        """
        number = checked_id(source_id)

        def read(reply: Reply, request: RequestInfo) -> AsyncSyncTask:
            task = AsyncSyncTask.model_validate(_read_started(reply, request).to_dict())
            accepted_at = http_date(reply.headers.get("date", "")) or self._now()
            moment = datetime.fromtimestamp(accepted_at, UTC)
            task._wait = lambda timeout: self.wait(number, since=moment, timeout=timeout)
            return task

        call = Call(
            method="POST",
            path=f"{_path(number)}sync/",
            kind=Kind.CREATE,
            read=read,
            reconcile=lambda started_at: self._find_sync(number, started_at),
        )
        return await self._run(call)

    async def wait(
        self,
        source_id: int | str,
        *,
        since: datetime,
        timeout: float | timedelta = DEFAULT_WAIT_SECONDS,  # noqa: ASYNC109 - as users say it
    ) -> DataSource:
        """The data source, once a sync that began at `since` has ended.

        It has ended well when `last_synced_at` is not before `since`, or has changed; badly
        (TaskFailedError) when the status turns to `error`. A source that was in error before
        shows a further failure only by its webhook: without a waker that ends in
        WaitTimeoutError. `timeout` in seconds, or a timedelta.
        """
        number = checked_id(source_id)
        subject = Subject("data_source", number)
        judge = _sync_judge(subject, since)
        return await wait_until_done(
            self._engine.shared, subject, lambda: self.get(number), judge, timeout
        )

    async def delete(self, source_id: int | str) -> Deleted:
        """Delete a data source. Requires Analyst role or above: PermissionDeniedError."""
        return await self._run(
            Call(method="DELETE", path=_path(source_id), kind=Kind.SAFE, read=read_deleted)
        )

    def _now(self) -> float:
        return self._engine.shared.clock.time()

    async def _find(self, name: str, started_at: float) -> Reconciliation:
        listed = self.list(search=name, created_after=since(started_at))
        return Reconciliation(
            found=tuple([source async for source in listed if source.name == name]),
            note=f"data sources named {name!r} created since the call",
        )

    async def _find_sync(self, number: int, started_at: float) -> Reconciliation:
        source = await self.get(number)
        synced_at = source.last_synced_at
        is_synced = synced_at is not None and synced_at >= since(started_at)
        return Reconciliation(
            found=(source,) if is_synced else (),
            note=f"data source {number}, if it was synced since the call; it may yet be",
        )


def _path(source_id: int | str) -> str:
    return f"data-sources/{checked_id(source_id)}/"


def _sync_judge(subject: Subject, since: datetime) -> Judge[DataSource]:
    first: dict[str, DataSource] = {}

    def is_done(source: DataSource, news: News | None) -> bool:
        before = first.setdefault("source", source)
        synced_at, updated_at = source.last_synced_at, source.updated_at
        if source.status == DataSourceStatus.ERROR and (
            before.status != DataSourceStatus.ERROR
            or (updated_at is not None and updated_at >= since)
        ):
            raise TaskFailedError(f"{subject}: the sync failed", subject=subject, last=source)
        if news is not None and news.event == "data_source.sync_completed":
            return True
        return synced_at is not None and (synced_at >= since or synced_at != before.last_synced_at)

    return is_done


class BlockingDataSources(Blocking[DataSources]):
    """The organization's data sources."""

    list = converted(Pages[DataSourceSummary], DataSources.list)
    get = blocking(DataSources.get)
    create = blocking(DataSources.create)
    sync = blocking_as(SyncTask.of, DataSources.sync)
    wait = blocking(DataSources.wait)
    delete = blocking(DataSources.delete)
