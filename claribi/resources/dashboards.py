"""`/dashboards/`: list, get, create, update, delete."""

from collections.abc import Mapping
from typing import Any, Unpack

from claribi.answers import Reply
from claribi.blocking import Blocking, blocking, converted
from claribi.call import Call
from claribi.errors import RequestInfo
from claribi.models import Dashboard, DashboardSummary, Page
from claribi.pages import AsyncPages, ListOptions, Pages, list_params
from claribi.reading import reader
from claribi.reconcile import Reconciliation, since
from claribi.requests import DashboardCreate, DashboardUpdate
from claribi.resources.base import Deleted, Resource, read_deleted
from claribi.retry import Kind
from claribi.urls import checked_id

_read_page = reader(Page[DashboardSummary])
_read_one = reader(Dashboard)


class Dashboards(Resource):
    """The dashboards that the current user may see."""

    def list(
        self, *, workspace_id: int | None = None, **options: Unpack[ListOptions]
    ) -> AsyncPages[DashboardSummary]:
        """All dashboards, lazily. `workspace_id` is sent as `workspace`, the filter's name."""
        return AsyncPages(
            self._run,
            "dashboards/",
            _read_page,
            list_params(options, workspace=workspace_id),
            self._engine.shared.base_url,
        )

    async def get(self, dashboard_id: int | str) -> Dashboard:
        """One dashboard, with all its widgets. Raises NotFoundError."""
        return await self._run(
            Call(method="GET", path=_path(dashboard_id), kind=Kind.SAFE, read=_read_one)
        )

    async def create(
        self,
        *,
        name: str,
        description: str | None = None,
        workspace_id: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Dashboard:
        """A new dashboard. Raises ConflictError for a name that exists, ValidationError."""
        body = DashboardCreate.of(
            name=name, description=description, workspace_id=workspace_id, **(extra or {})
        )
        call = Call(
            method="POST",
            path="dashboards/",
            kind=Kind.CREATE,
            json=body.to_dict(),
            read=_read_one,
            reconcile=lambda started_at: self._find(name, started_at),
        )
        return await self._run(call)

    async def update(
        self,
        dashboard_id: int | str,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Dashboard | None:
        """Change what is given; None if the server answers without the dashboard (204).

        The reference doesn't say whether PUT keeps what is left out: we assume that it does.
        """
        body = DashboardUpdate.of(
            name=name, description=description, configuration=configuration, **(extra or {})
        )
        call = Call(
            method="PUT",
            path=_path(dashboard_id),
            kind=Kind.SAFE,
            json=body.to_dict(),
            read=_read_updated,
        )
        return await self._run(call)

    async def delete(self, dashboard_id: int | str) -> Deleted:
        """Delete a dashboard. Requires edit access: PermissionDeniedError."""
        return await self._run(
            Call(method="DELETE", path=_path(dashboard_id), kind=Kind.SAFE, read=read_deleted)
        )

    async def _find(self, name: str, started_at: float) -> Reconciliation:
        listed = self.list(search=name, created_after=since(started_at))
        return Reconciliation(
            found=tuple([board async for board in listed if board.name == name]),
            note=f"dashboards named {name!r} created since the call",
        )


def _path(dashboard_id: int | str) -> str:
    return f"dashboards/{checked_id(dashboard_id)}/"


def _read_updated(reply: Reply, request: RequestInfo) -> Dashboard | None:
    return _read_one(reply, request) if reply.body else None


class BlockingDashboards(Blocking[Dashboards]):
    """The dashboards that the current user may see."""

    list = converted(Pages[DashboardSummary], Dashboards.list)
    get = blocking(Dashboards.get)
    create = blocking(Dashboards.create)
    update = blocking(Dashboards.update)
    delete = blocking(Dashboards.delete)
