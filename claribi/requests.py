"""The bodies that the client sends, as types. Fields that the reference lacks pass through."""

from typing import Any, Self

from pydantic import Field, ValidationError

from claribi.enums import DataSourceType, Engine, QueryFormat, ReportTemplate, SyncFrequency
from claribi.errors import ConfigurationError
from claribi.models import Model
from claribi.reading import faults_of


class Body(Model):
    """Base of every request: unknown fields are sent as they are, secrets masked in `repr`."""

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """The body with those fields that are not None; raises ConfigurationError."""
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(f"{cls.__name__}: {faults_of(error)}") from None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object to send: only what was given; raises ConfigurationError."""
        try:
            return super().to_dict()
        except ValueError as error:
            raise ConfigurationError(f"{type(self).__name__} can't be sent: {error}") from None


class LoginRequest(Body):
    """`POST auth/login/`."""

    email: str
    password: str


class RefreshRequest(Body):
    """`POST auth/token/refresh/`."""

    refresh: str


class DatabaseConfiguration(Body):
    """The configuration of a database source; a plain dict serves for any other engine."""

    host: str
    port: int
    database: str
    username: str
    password: str
    ssl: bool | None = None
    schema_: str | None = Field(default=None, alias="schema")


class DataSourceCreate(Body):
    """`POST data-sources/`. The reference doesn't say what is required: the server decides."""

    name: str
    type: DataSourceType
    engine: Engine
    configuration: dict[str, Any] | None = None
    sync_frequency: SyncFrequency | None = None


class DashboardCreate(Body):
    """`POST dashboards/`."""

    name: str
    description: str | None = None
    workspace_id: int | None = None


class DashboardUpdate(Body):
    """`PUT dashboards/{id}/`: the reference names the three fields in prose, and no shape."""

    name: str | None = None
    description: str | None = None
    configuration: dict[str, Any] | None = None


class ReportParameters(Body):
    """`parameters` of a report (examples: `last_30_days`, `week`); a dict serves as well."""

    date_range: str | None = None
    group_by: str | None = None


class ReportCreate(Body):
    """`POST reports/`."""

    name: str
    template: ReportTemplate
    data_source_ids: list[int] | None = None
    parameters: dict[str, Any] | None = None


class QueryRequest(Body):
    """`POST analytics/query/`."""

    query: str
    data_source_ids: list[int] | None = None
    format: QueryFormat | None = None
