"""What callers send: request bodies and query parameters, with the rules that they must keep."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from claribi.sandbox.records import DataSourceStatus, DataSourceType

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Free = dict[str, JsonValue]
QueryFormat = Literal["table", "summary", "chart"]
ReportFilter = Literal["draft", "published", "scheduled"]
_NUMBER = re.compile(r"\s*[+-]?[0-9.]+(e[+-]?[0-9]+)?\s*", re.IGNORECASE)


def _not_a_number(value: Any) -> Any:
    """Pydantic would take a number for Unix seconds; the reference says ISO 8601."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        msg = "Input should be a date and time in ISO 8601"
        raise ValueError(msg)
    return value


def _aware(moment: datetime) -> datetime:
    """A moment without a zone is UTC, as every moment that the API shows."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[
    datetime,
    BeforeValidator(_not_a_number),
    AfterValidator(_aware),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}),
]


class Body(BaseModel):
    """A JSON object; keys that we don't know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Login(Body):
    email: Annotated[str, StringConstraints(min_length=1, max_length=320)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Refresh(Body):
    refresh: Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class MfaVerify(Body):
    """Assumption: the reference doesn't show how a TOTP code is verified."""

    mfa_token: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    code: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16)]


class DataSourceCreate(Body):
    name: Name
    type: DataSourceType
    engine: Word
    configuration: Free = Field(default_factory=dict)
    sync_frequency: Word = "daily"


class DashboardCreate(Body):
    name: Name
    description: Text = ""
    workspace_id: Id | None = None


class DashboardUpdate(Body):
    """Assumption: only the given fields change; the reference says nothing of the others."""

    name: Name | None = None
    description: Text | None = None
    configuration: Free | None = None
    workspace_id: Id | None = None
    is_public: bool | None = None


class ReportCreate(Body):
    name: Name
    template: Word
    data_source_ids: list[Id] = Field(default_factory=list, max_length=100)
    parameters: Free = Field(default_factory=dict)


class Query(Body):
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    data_source_ids: list[Id] = Field(default_factory=list, max_length=100)
    format: QueryFormat = "table"


class ListQuery(BaseModel):
    """The common query parameters; each list adds its own filters."""

    model_config = ConfigDict(extra="ignore")
    sort_fields: ClassVar[tuple[str, ...]] = ("id", "name", "created_at")

    page: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=1, description="Page number, starting at 1; 404 past the end"
    )
    page_size: Annotated[int, Field(ge=1, le=100)] = Field(
        default=20, description="Items per page, at most 100"
    )
    search: str | None = Field(
        default=None, description="Every word must be in the name or the description"
    )
    ordering: str | None = Field(
        default=None, description="Field to sort by, `-` before it for descending; ties by id"
    )
    created_after: Moment | None = Field(default=None, description="ISO 8601, inclusive")
    created_before: Moment | None = Field(default=None, description="ISO 8601, inclusive")

    @field_validator("ordering")
    @classmethod
    def _known_field(cls, value: str | None) -> str | None:
        for name in (value or "").split(","):
            if name and name.removeprefix("-") not in cls.sort_fields:
                known = ", ".join(cls.sort_fields)
                msg = f"can't sort by {name!r}; one of: {known}"
                raise ValueError(msg)
        return value


class DataSourceQuery(ListQuery):
    sort_fields = (*ListQuery.sort_fields, "type", "engine", "status", "last_synced_at")

    status: DataSourceStatus | None = Field(default=None, description="Filter by status")
    type: DataSourceType | None = Field(default=None, description="Filter by type")


class DashboardQuery(ListQuery):
    sort_fields = (*ListQuery.sort_fields, "updated_at")

    workspace: Id | None = Field(default=None, description="Filter by workspace id")


class ReportQuery(ListQuery):
    sort_fields = (*ListQuery.sort_fields, "status", "template", "last_generated_at")

    status: ReportFilter | None = Field(default=None, description="Filter by status")
