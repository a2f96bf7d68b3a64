"""The API's answers as types.

Each keeps the fields that it doesn't know (as attributes, and in `model_extra`). A field is
required where the reference shows it in every answer; what may be null, or be left out by some
answers of the same resource, is optional. `repr` masks whatever is named like a secret.
Moments are aware: one without a zone is taken as UTC.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from claribi.enums import (
    DataSourceStatus,
    DataSourceType,
    Engine,
    EventType,
    Feature,
    PlanSlug,
    QueryFormat,
    ReportSchedule,
    ReportStatus,
    ReportTemplate,
    Role,
    SyncFrequency,
    Visualization,
    WidgetType,
)
from claribi.secrets import MASK, is_secret_name, masked


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _exact_number(value: Any) -> Any:
    # Text such as "99.00" must not become a float; ints and floats stay what they are.
    return Decimal(value) if isinstance(value, str) else value


Moment = Annotated[datetime, AfterValidator(_aware)]
Money = Annotated[int | float | Decimal, BeforeValidator(_exact_number)]
"""A price: an int, a float or (where the server sends text) a Decimal, as it came."""

Row = dict[str, Any]


class Model(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        protected_namespaces=(),
        # A failed validation must not quote the answer: a configuration may hold a password.
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name is not None and is_secret_name(name) and value is not None:
                yield name, MASK
            else:
                yield name, masked(value) if isinstance(value, dict | list) else value

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON values: only what the server sent, unknown fields included."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Listed(Model):
    """Base of what comes in lists."""

    id: int


class TokenPair(Model):
    """Tokens of a session. `refresh` is None in the answer to a refresh, unless it rotates."""

    access: str = Field(repr=False)
    refresh: str | None = Field(default=None, repr=False)


class MfaChallenge(Model):
    """A login that waits for its TOTP code; whatever else the server sent identifies it."""

    mfa_required: bool = True

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "mfa_required", self.mfa_required


class User(Model):
    """Who is logged in."""

    id: int
    email: str
    first_name: str = ""
    last_name: str = ""
    role: Role | None = None


class Organization(Model):
    """Whose account it is. `plan` is None where there is none."""

    id: int
    name: str
    plan: PlanSlug | None = None
    ai_credits_remaining: int | None = None


class AuthStatus(Model):
    """`GET auth/status/`."""

    user: User
    organization: Organization


class UserRef(Model):
    """Who made something."""

    id: int
    name: str = ""


class DataSourceSummary(Listed):
    """A data source as lists show it. `last_synced_at` is None before the first sync."""

    name: str
    type: DataSourceType
    engine: Engine
    status: DataSourceStatus
    last_synced_at: Moment | None = None
    created_at: Moment | None = None


class Configuration(Model):
    """How a source is reached. Its fields differ by engine; those of the reference are typed."""

    host: str | None = None
    port: int | None = None
    database: str | None = None
    # `schema` itself is a method that pydantic models have.
    schema_: str | None = Field(default=None, alias="schema")
    username: str | None = None
    ssl: bool | None = None


class DataSource(DataSourceSummary):
    """A data source. `tables` and `configuration` are None where the answer has none."""

    configuration: Configuration | None = None
    sync_frequency: SyncFrequency | None = None
    tables: list[str] | None = None
    updated_at: Moment | None = None


class SyncStarted(Model):
    """`POST data-sources/{id}/sync/`. All None if the answer was empty."""

    message: str | None = None
    task_id: str | None = None
    estimated_duration: str | None = None
    """Prose, such as "2 minutes"."""

    @property
    def estimate(self) -> timedelta | None:
        """`estimated_duration` as a span, where it can be read."""
        return parse_estimate(self.estimated_duration)


class DashboardSummary(Listed):
    """A dashboard as lists show it."""

    name: str
    description: str | None = None
    workspace_id: int | None = None
    widget_count: int | None = None
    is_public: bool | None = None
    created_by: UserRef | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None


class Position(Model):
    """Where a widget is, in cells of the grid."""

    x: int
    y: int
    w: int
    h: int


class Widget(Model):
    """A part of a dashboard. `query` is SQL that somebody wrote: show it, never run it."""

    id: int
    type: WidgetType
    title: str | None = None
    position: Position | None = None
    data_source_id: int | None = None
    query: str | None = None
    configuration: Row | None = None


class Dashboard(DashboardSummary):
    """A dashboard with its widgets. `configuration` is an assumption: PUT takes one."""

    widgets: list[Widget] = Field(default_factory=list)
    configuration: Row | None = None


class ReportSummary(Listed):
    """A report as lists show it."""

    name: str
    status: ReportStatus
    template: ReportTemplate | None = None
    schedule: ReportSchedule | None = None
    last_generated_at: Moment | None = None
    created_by: UserRef | None = None
    created_at: Moment | None = None


class Report(ReportSummary):
    """A report. The reference doesn't give the shape of its content: any JSON."""

    content: Any = None
    task_id: str | None = None
    error: str | None = None


class ReportStarted(Model):
    """`POST reports/`: the report is being made."""

    id: int
    name: str | None = None
    status: ReportStatus = ReportStatus.GENERATING
    task_id: str | None = None
    credits_used: int | None = None
    estimated_completion: str | None = None
    """Prose, such as "30 seconds"."""

    @property
    def estimate(self) -> timedelta | None:
        """`estimated_completion` as a span, where it can be read."""
        return parse_estimate(self.estimated_completion)


class QueryResult(Model):
    """`POST analytics/query/`. Which of the first four are there depends on the format."""

    query: str | None = None
    results: list[Row] | None = None
    summary: str | None = None
    visualization_suggestion: Visualization | None = None
    credits_used: int | None = None
    credits_remaining: int | None = None
    format: QueryFormat | None = None


class BillingPeriod(Model):
    """First and last day, as the server says them; it names no time zone."""

    start: date
    end: date


class CreditUsage(Model):
    """AI credits of the period."""

    total: int
    used: int
    remaining: int


class DataSourceUsage(Model):
    """Data sources of the plan."""

    limit: int | None = None
    used: int


class UserUsage(Model):
    """Users of the plan."""

    limit: int | None = None
    active: int


class Usage(Model):
    """`GET billing/usage/`."""

    billing_period: BillingPeriod
    plan: PlanSlug | None = None
    ai_credits: CreditUsage
    data_sources: DataSourceUsage | None = None
    users: UserUsage | None = None


class Plan(Model):
    """A plan of `GET billing/pricing-config/`. The reference names no currency."""

    slug: PlanSlug
    name: str
    price: Money | None = None
    duration_days: int | None = None
    users: int | None = None
    ai_credits: int | None = None
    data_sources: int | None = None
    features: list[Feature] = Field(default_factory=list)


class WebhookEvent(Model):
    """What clariBI sends to a webhook. `data` differs by event; one payload is documented."""

    event: EventType
    timestamp: Moment | None = None
    data: Row = Field(default_factory=dict)


class PricingConfig(Model):
    """`GET billing/pricing-config/`."""

    plans: list[Plan]

    def plan(self, slug: str) -> Plan | None:
        """The plan of that slug; None if there is none."""
        return next((plan for plan in self.plans if plan.slug == slug), None)


ItemT = TypeVar("ItemT", bound=Listed)


class Page(Model, Generic[ItemT]):
    """One page of a list. `count` is the server's; it may differ from what a walk finds."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[ItemT]


_ESTIMATE = re.compile(r"^(\d{1,6}) (second|minute|hour)s?$")


def parse_estimate(text: str | None) -> timedelta | None:
    """A span written as prose, or None.

    >>> parse_estimate("2 minutes")
    datetime.timedelta(seconds=120)
    """
    match = _ESTIMATE.match(text or "")
    return timedelta(**{f"{match[2]}s": int(match[1])}) if match else None
