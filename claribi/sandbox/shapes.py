"""The answers, field by field in the reference's order. The OpenAPI document is drawn from these.

A field that isn't set when a shape is made is absent from the answer; one set to None is null.
"""

from datetime import date, datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field, JsonValue

from claribi.sandbox.records import DataSourceStatus, DataSourceType, ReportStatus, Role

T = TypeVar("T")
Free = dict[str, JsonValue]


class ErrorBody(BaseModel):
    error: str
    message: str
    detail: JsonValue = None


class Page(BaseModel, Generic[T]):
    count: int
    next: str | None
    previous: str | None
    results: list[T]


class TokenPair(BaseModel):
    access: str
    refresh: str


class MfaChallenge(BaseModel):
    """Assumption: the reference names only `mfa_required`."""

    mfa_required: Literal[True]
    mfa_token: str
    """Goes back to `auth/mfa/verify/` with the code; good for five minutes."""


class AccessToken(BaseModel):
    access: str


class UserShape(BaseModel):
    id: int
    email: str
    first_name: str
    last_name: str
    role: Role


class OrganizationShape(BaseModel):
    id: int
    name: str
    plan: str
    ai_credits_remaining: int


class AuthStatus(BaseModel):
    user: UserShape
    organization: OrganizationShape


class UserRef(BaseModel):
    id: int
    name: str


class DataSourceSummary(BaseModel):
    id: int
    name: str
    type: DataSourceType
    engine: str
    status: DataSourceStatus
    last_synced_at: datetime | None
    created_at: datetime


class DataSourceDetail(BaseModel):
    id: int
    name: str
    type: DataSourceType
    engine: str
    status: DataSourceStatus
    configuration: Free
    sync_frequency: str
    last_synced_at: datetime | None
    tables: list[str]
    created_at: datetime
    updated_at: datetime


class SyncStarted(BaseModel):
    message: str
    task_id: str
    estimated_duration: str


class DashboardSummary(BaseModel):
    id: int
    name: str
    description: str
    workspace_id: int | None
    widget_count: int
    is_public: bool
    created_by: UserRef | None
    created_at: datetime
    updated_at: datetime


class Position(BaseModel):
    x: int
    y: int
    w: int
    h: int


class WidgetShape(BaseModel):
    id: int
    type: str
    title: str
    position: Position
    data_source_id: int | None
    query: str | None
    configuration: Free


class DashboardDetail(BaseModel):
    id: int
    name: str
    description: str
    workspace_id: int | None
    is_public: bool
    widgets: list[WidgetShape]
    configuration: Free = Field(default_factory=dict)
    """Assumption: PUT takes it, so it is shown once it was set."""
    created_by: UserRef | None
    created_at: datetime
    updated_at: datetime


class ReportSummary(BaseModel):
    id: int
    name: str
    status: ReportStatus
    template: str
    schedule: str | None
    last_generated_at: datetime | None
    created_by: UserRef | None
    created_at: datetime


class ReportDetail(ReportSummary):
    """Assumption beyond the summary: the reference says "with its content" and shows nothing."""

    data_source_ids: list[int]
    parameters: Free
    task_id: str | None
    credits_used: int
    content: Free | None
    error: str | None = None


class ReportStarted(BaseModel):
    id: int
    name: str
    status: Literal["generating"]
    task_id: str
    credits_used: int
    estimated_completion: str


class QueryResult(BaseModel):
    """`results` and `visualization_suggestion` are absent when only the summary was asked for."""

    query: str
    results: list[Free] = Field(default_factory=list)
    summary: str
    visualization_suggestion: str = ""
    credits_used: int
    credits_remaining: int


class BillingPeriod(BaseModel):
    start: date
    end: date


class CreditUsage(BaseModel):
    total: int
    used: int
    remaining: int


class DataSourceUsage(BaseModel):
    limit: int
    used: int


class UserUsage(BaseModel):
    limit: int
    active: int


class Usage(BaseModel):
    billing_period: BillingPeriod
    plan: str
    ai_credits: CreditUsage
    data_sources: DataSourceUsage
    users: UserUsage


class Plan(BaseModel):
    slug: str
    name: str
    price: int
    duration_days: int = 0
    users: int
    ai_credits: int
    data_sources: int
    features: list[str] = Field(default_factory=list)


class Pricing(BaseModel):
    plans: list[Plan]
