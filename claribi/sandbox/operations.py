"""Every operation of the API in one table; the routes and the OpenAPI document come from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from claribi.sandbox import analytics, billing, bodies, dashboards, reports, sessions, shapes
from claribi.sandbox import data_sources as sources
from claribi.sandbox.incoming import Incoming
from claribi.sandbox.records import Role
from claribi.sandbox.world import World

Method = Literal["GET", "POST", "PUT", "DELETE"]
Handler = Callable[[World, Incoming[Any]], BaseModel | None]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path, and what it takes and gives."""

    method: Method
    path: str
    """What follows `/api/`."""
    handler: Handler
    status: int
    answers: tuple[type[BaseModel], ...] = ()
    """What it can answer with on success; nothing: no content."""
    body: type[BaseModel] | None = None
    query: type[bodies.ListQuery] | None = None
    role: Role | None = "viewer"
    """The least role that may call it; None: no login needed."""
    errors: tuple[int, ...] = ()
    """Beyond those that every operation can give."""

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.handler.__name__

    @property
    def writes(self) -> bool:
        """Whether a read-only key may not call it."""
        return self.role is not None and self.method != "GET"


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="auth/login/",
        handler=sessions.login,
        status=200,
        answers=(shapes.TokenPair, shapes.MfaChallenge),
        body=bodies.Login,
        role=None,
    ),
    Operation(
        method="POST",
        path="auth/mfa/verify/",
        handler=sessions.verify_mfa,
        status=200,
        answers=(shapes.TokenPair,),
        body=bodies.MfaVerify,
        role=None,
    ),
    Operation(
        method="POST",
        path="auth/token/refresh/",
        handler=sessions.refresh,
        status=200,
        answers=(shapes.AccessToken,),
        body=bodies.Refresh,
        role=None,
    ),
    Operation(
        method="GET",
        path="auth/status/",
        handler=sessions.status,
        status=200,
        answers=(shapes.AuthStatus,),
    ),
    Operation(
        method="GET",
        path="data-sources/",
        handler=sources.list_data_sources,
        status=200,
        answers=(shapes.Page[shapes.DataSourceSummary],),
        query=bodies.DataSourceQuery,
    ),
    Operation(
        method="GET",
        path="data-sources/{id}/",
        handler=sources.get_data_source,
        status=200,
        answers=(shapes.DataSourceDetail,),
    ),
    Operation(
        method="POST",
        path="data-sources/",
        handler=sources.create_data_source,
        status=201,
        answers=(shapes.DataSourceDetail,),
        body=bodies.DataSourceCreate,
        role="analyst",
        errors=(409, 422),
    ),
    Operation(
        method="POST",
        path="data-sources/{id}/sync/",
        handler=sources.sync_data_source,
        status=202,
        answers=(shapes.SyncStarted,),
        role="analyst",
        errors=(409, 422),
    ),
    Operation(
        method="DELETE",
        path="data-sources/{id}/",
        handler=sources.delete_data_source,
        status=204,
        role="analyst",
    ),
    Operation(
        method="GET",
        path="dashboards/",
        handler=dashboards.list_dashboards,
        status=200,
        answers=(shapes.Page[shapes.DashboardSummary],),
        query=bodies.DashboardQuery,
    ),
    Operation(
        method="GET",
        path="dashboards/{id}/",
        handler=dashboards.get_dashboard,
        status=200,
        answers=(shapes.DashboardDetail,),
    ),
    Operation(
        method="POST",
        path="dashboards/",
        handler=dashboards.create_dashboard,
        status=201,
        answers=(shapes.DashboardDetail,),
        body=bodies.DashboardCreate,
        role="analyst",
        errors=(409,),
    ),
    Operation(
        method="PUT",
        path="dashboards/{id}/",
        handler=dashboards.update_dashboard,
        status=200,
        answers=(shapes.DashboardDetail,),
        body=bodies.DashboardUpdate,
        role="analyst",
        errors=(409,),
    ),
    Operation(
        method="DELETE",
        path="dashboards/{id}/",
        handler=dashboards.delete_dashboard,
        status=204,
        role="analyst",
    ),
    Operation(
        method="GET",
        path="reports/",
        handler=reports.list_reports,
        status=200,
        answers=(shapes.Page[shapes.ReportSummary],),
        query=bodies.ReportQuery,
    ),
    Operation(
        method="GET",
        path="reports/{id}/",
        handler=reports.get_report,
        status=200,
        answers=(shapes.ReportDetail,),
    ),
    Operation(
        method="POST",
        path="reports/",
        handler=reports.create_report,
        status=202,
        answers=(shapes.ReportStarted,),
        body=bodies.ReportCreate,
        role="analyst",
        errors=(422,),
    ),
    Operation(
        method="DELETE",
        path="reports/{id}/",
        handler=reports.delete_report,
        status=204,
        role="analyst",
    ),
    Operation(
        method="POST",
        path="analytics/query/",
        handler=analytics.run_query,
        status=200,
        answers=(shapes.QueryResult,),
        body=bodies.Query,
        role="analyst",
        errors=(422,),
    ),
    Operation(
        method="GET",
        path="billing/usage/",
        handler=billing.usage,
        status=200,
        answers=(shapes.Usage,),
    ),
    Operation(
        method="GET",
        path="billing/pricing-config/",
        handler=billing.pricing,
        status=200,
        answers=(shapes.Pricing,),
    ),
)
