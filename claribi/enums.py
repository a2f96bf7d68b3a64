"""The reference's enumerations, all open: a value that they don't know is kept, never refused.

An unknown value is an instance of its enum as well, equal to its text, with `is_known` False.
Where the reference gives examples only, the members are those examples.
"""

from enum import StrEnum
from typing import Self


class OpenEnum(StrEnum):
    """A StrEnum that takes any string."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        # Not registered as a member: iterating the class shows only what the reference names.
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        """Whether the reference names this value."""
        return self._value_ in type(self)._value2member_map_


class DataSourceStatus(OpenEnum):
    """State of a data source."""

    ACTIVE = "active"
    PAUSED = "paused"
    ERROR = "error"


class DataSourceType(OpenEnum):
    """Kind of a data source."""

    DATABASE = "database"
    API = "api"
    FILE = "file"
    CLOUD = "cloud"


class Engine(OpenEnum):
    """What a data source speaks (examples)."""

    POSTGRESQL = "postgresql"
    GOOGLE_ANALYTICS = "google_analytics"


class SyncFrequency(OpenEnum):
    """How often a data source is synced (example)."""

    DAILY = "daily"


class ReportStatus(OpenEnum):
    """State of a report; the list can be filtered by the first three only."""

    DRAFT = "draft"
    PUBLISHED = "published"
    SCHEDULED = "scheduled"
    GENERATING = "generating"


class ReportTemplate(OpenEnum):
    """What a report is made of (examples)."""

    SALES_SUMMARY = "sales_summary"
    REVENUE_ANALYSIS = "revenue_analysis"


class ReportSchedule(OpenEnum):
    """How often a report is made (example)."""

    WEEKLY = "weekly"


class WidgetType(OpenEnum):
    """How a widget looks (examples)."""

    KPI = "kpi"
    LINE_CHART = "line_chart"


class Visualization(OpenEnum):
    """How a query's result is best shown (example)."""

    BAR_CHART = "bar_chart"


class QueryFormat(OpenEnum):
    """What a query is answered with."""

    TABLE = "table"
    """Structured data in rows and columns."""
    SUMMARY = "summary"
    """Text only."""
    CHART = "chart"
    """With a suggestion how to draw it."""


class Role(OpenEnum):
    """What a user may do. Compared without regard to case: the reference writes both forms."""

    ADMINISTRATOR = "administrator"
    ANALYST = "analyst"
    VIEWER = "viewer"
    """Our assumption: the reference names the other two only."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._value_.casefold() == str.casefold(other)

    def __hash__(self) -> int:
        return hash(self._value_.casefold())


class PlanSlug(OpenEnum):
    """A plan."""

    TRIAL = "trial"
    STARTER = "starter"
    PROFESSIONAL = "professional"
    ENTERPRISE = "enterprise"


class Feature(OpenEnum):
    """What a plan includes."""

    RBAC = "rbac"
    SCHEDULED_REPORTS = "scheduled_reports"
    PRIORITY_SUPPORT = "priority_support"
    CUSTOM_ROLES = "custom_roles"
    SSO = "sso"
    AUDIT_LOG = "audit_log"
    DEDICATED_SUPPORT = "dedicated_support"


class EventType(OpenEnum):
    """What a webhook tells."""

    SYNC_COMPLETED = "data_source.sync_completed"
    SYNC_FAILED = "data_source.sync_failed"
    REPORT_GENERATED = "report.generated"
    MILESTONE_REACHED = "goal.milestone_reached"
    CREDITS_LOW = "billing.credits_low"


class ErrorCode(OpenEnum):
    """The `error` of an error answer."""

    VALIDATION_ERROR = "validation_error"
    AUTHENTICATION_FAILED = "authentication_failed"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, no secret
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    SERVICE_UNAVAILABLE = "service_unavailable"
