"""Which call of the client covers each operation of the reference."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from claribi import models, requests


@dataclass(frozen=True, kw_only=True)
class Covered:
    """How the client covers one operation."""

    shown: str
    """As docs/claribi-api.md shows it."""
    run: Callable[..., Any]
    """Calls it on a client of either face; keywords are list parameters or body fields."""
    model: type[models.Model] | None
    body: type[requests.Body] | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    """The query's name → the argument's, where they differ."""


SOURCE = {"name": "Staging Database", "type": "database", "engine": "postgresql"}
REPORT = {"name": "Monthly Revenue Report", "template": "revenue_analysis"}

COVERED: dict[str, Covered] = {
    "POST auth/login/": Covered(
        shown="auth.login(email, password)",
        run=lambda c, email="user@example.com", password="your-password": c.auth.login(
            email, password
        ),
        model=models.TokenPair,
        body=requests.LoginRequest,
    ),
    "POST auth/token/refresh/": Covered(
        shown="auth.refresh(refresh)",
        run=lambda c, refresh: c.auth.refresh(refresh),
        model=models.TokenPair,
        body=requests.RefreshRequest,
    ),
    "GET auth/status/": Covered(
        shown="auth.status()", run=lambda c: c.auth.status(), model=models.AuthStatus
    ),
    "GET data-sources/": Covered(
        shown="data_sources.list(…)",
        run=lambda c, page=1, **p: c.data_sources.list(**p).page(page),
        model=models.Page[models.DataSourceSummary],
    ),
    "GET data-sources/{id}/": Covered(
        shown="data_sources.get(id)",
        run=lambda c: c.data_sources.get(1),
        model=models.DataSource,
    ),
    "POST data-sources/": Covered(
        shown="data_sources.create(…)",
        run=lambda c, **body: c.data_sources.create(**(SOURCE | body)),
        model=models.DataSource,
        body=requests.DataSourceCreate,
    ),
    "POST data-sources/{id}/sync/": Covered(
        shown="data_sources.sync(id)",
        run=lambda c: c.data_sources.sync(1),
        model=models.SyncStarted,
    ),
    "DELETE data-sources/{id}/": Covered(
        shown="data_sources.delete(id)", run=lambda c: c.data_sources.delete(1), model=None
    ),
    "GET dashboards/": Covered(
        shown="dashboards.list(…)",
        run=lambda c, page=1, **p: c.dashboards.list(**p).page(page),
        model=models.Page[models.DashboardSummary],
        parameters={"workspace": "workspace_id"},
    ),
    "GET dashboards/{id}/": Covered(
        shown="dashboards.get(id)", run=lambda c: c.dashboards.get(1), model=models.Dashboard
    ),
    "POST dashboards/": Covered(
        shown="dashboards.create(…)",
        run=lambda c, name="Marketing", **body: c.dashboards.create(name=name, **body),
        model=models.Dashboard,
        body=requests.DashboardCreate,
    ),
    "PUT dashboards/{id}/": Covered(
        shown="dashboards.update(id, …)",
        run=lambda c: c.dashboards.update(1, name="Revenue", description="Of this year"),
        model=models.Dashboard,
        body=requests.DashboardUpdate,
    ),
    "DELETE dashboards/{id}/": Covered(
        shown="dashboards.delete(id)", run=lambda c: c.dashboards.delete(1), model=None
    ),
    "GET reports/": Covered(
        shown="reports.list(…)",
        run=lambda c, page=1, **p: c.reports.list(**p).page(page),
        model=models.Page[models.ReportSummary],
    ),
    "GET reports/{id}/": Covered(
        shown="reports.get(id)", run=lambda c: c.reports.get(1), model=models.Report
    ),
    "POST reports/": Covered(
        shown="reports.create(…)",
        run=lambda c, **body: c.reports.create(**(REPORT | body)),
        model=models.ReportStarted,
        body=requests.ReportCreate,
    ),
    "DELETE reports/{id}/": Covered(
        shown="reports.delete(id)", run=lambda c: c.reports.delete(1), model=None
    ),
    "POST analytics/query/": Covered(
        shown="analytics.query(query, …)",
        run=lambda c, query="What sold best?", **body: c.analytics.query(query, **body),
        model=models.QueryResult,
        body=requests.QueryRequest,
    ),
    "GET billing/usage/": Covered(
        shown="billing.usage()", run=lambda c: c.billing.usage(), model=models.Usage
    ),
    "GET billing/pricing-config/": Covered(
        shown="billing.pricing_config()",
        run=lambda c: c.billing.pricing_config(),
        model=models.PricingConfig,
    ),
}

# What the reference leaves free is a plain dict in the client.
NESTED_BODIES: dict[str, type[requests.Body]] = {
    "POST data-sources/ configuration": requests.DatabaseConfiguration,
    "POST reports/ parameters": requests.ReportParameters,
}
