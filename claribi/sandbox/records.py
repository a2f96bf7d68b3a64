"""What the sandbox remembers: one pydantic model per thing, and `State` that holds them all."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

Role = Literal["viewer", "analyst", "administrator"]
DataSourceStatus = Literal["active", "paused", "error"]
DataSourceType = Literal["database", "api", "file", "cloud"]
ReportStatus = Literal["draft", "published", "scheduled", "generating", "failed"]
"""The first three can be filtered by; `failed` is our assumption."""
JobKind = Literal["sync", "report"]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class User(BaseModel):
    """Somebody of the organization. Only those with a password can log in."""

    id: int
    email: str
    first_name: str
    last_name: str
    role: Role
    password: str | None = None
    totp_secret: str | None = None
    """Base32; with it a login isn't complete before a TOTP code was verified."""
    workspace_ids: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """How `created_by` shows this user."""
        return f"{self.first_name} {self.last_name}"


class ApiKey(BaseModel):
    """A key that acts as its user; a read-only one can't change anything."""

    key: str
    user_id: int
    read_only: bool = False


class DataSource(BaseModel):
    """A data source, and how its next sync will go."""

    id: int
    name: str
    type: DataSourceType
    engine: str
    status: DataSourceStatus = "active"
    configuration: dict[str, JsonValue] = {}
    sync_frequency: str = "daily"
    tables: list[str] = []
    last_synced_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    records_per_sync: int = 1200
    sync_seconds: int = 45
    sync_error: str | None = None
    """Set: each sync of it ends in failure, with this text."""


class Widget(BaseModel):
    """One widget of a dashboard."""

    id: int
    type: str
    title: str
    position: tuple[int, int, int, int]
    """x, y, width, height, in cells of the grid."""
    data_source_id: int | None
    query: str | None
    configuration: dict[str, JsonValue] = {}


class Dashboard(BaseModel):
    """A dashboard with its widgets."""

    id: int
    name: str
    description: str = ""
    workspace_id: int | None = None
    is_public: bool = False
    widgets: list[Widget] = []
    configuration: dict[str, JsonValue] | None = None
    created_by_id: int
    created_at: datetime
    updated_at: datetime


class Report(BaseModel):
    """A report; `content` is there once it was generated."""

    id: int
    name: str
    status: ReportStatus
    template: str
    schedule: str | None = None
    data_source_ids: list[int] = []
    parameters: dict[str, JsonValue] = {}
    task_id: str | None = None
    credits_used: int = 0
    content: dict[str, JsonValue] | None = None
    error: str | None = None
    last_generated_at: datetime | None = None
    created_by_id: int
    created_at: datetime


class Goal(BaseModel):
    """A goal; the REST API has none, but its milestones send webhooks."""

    id: int
    name: str
    data_source_id: int
    """Each completed sync of this data source moves the goal."""
    current_value: float
    target_value: float
    value_per_record: float


class Job(BaseModel):
    """A sync or a report under way."""

    task_id: str
    kind: JobKind
    resource_id: int
    duration_seconds: int
    """At speed 1; the webhook tells this number, whatever the speed."""
    ends_at: float
    """Unix seconds in the sandbox's time."""
    error: str | None = None
    """Set: it will fail, with this text."""


class Webhook(BaseModel):
    """A registered receiver of webhooks."""

    id: int
    url: str
    secret: str
    events: list[str] = ["*"]
    """Patterns of event types, as `fnmatch` reads them."""


class Attempt(BaseModel):
    """One try at handing a webhook over."""

    at: datetime
    duration_ms: float
    status_code: int | None = None
    error: str | None = None
    answer: str = ""
    """The first 2 KiB of what the receiver said."""


class Delivery(BaseModel):
    """One webhook for one URL. All its attempts carry the same id and the same body."""

    id: int
    message_id: str
    webhook_id: int
    url: str
    event: str
    body: str
    status: DeliveryStatus = "pending"
    due_at: float
    """Unix seconds in the sandbox's time of the next attempt."""
    attempts: list[Attempt] = []


class Fault(BaseModel):
    """What the next matching calls get in place of an answer."""

    count: int = Field(default=1, ge=1, le=1_000_000)
    status: int = Field(default=503, ge=400, le=599)
    error: str | None = None
    """The error code in the body; None: the reference's code for the status."""
    retry_after_seconds: int | None = Field(default=None, ge=0)
    method: str | None = None
    path: str = "*"
    """`fnmatch` pattern over what follows `/api/`, such as `reports/*`."""
    after: bool = False
    """True: the call is carried out at once, only its answer is replaced."""
    drop: bool = False
    """True: the connection breaks in the middle of the answer."""
    body: str | None = None
    """Sent as `text/html` instead of the JSON error, as a proxy in between would."""
    delay_seconds: float = Field(default=0, ge=0, le=600)
    """Real seconds to wait before anything else; with `after`, before the answer."""
    slow: bool = False
    """True: nothing fails, there is only the delay."""


class State(BaseModel):
    """Everything that can change, in one JSON document."""

    version: Literal[1] = 1
    signing_key: str
    """Hex; signs the JWTs."""
    offset_seconds: float = 0
    access_generation: int = 0
    """Access tokens of an older generation count as expired."""
    refresh_generation: int = 0
    credits_total: int
    credits_remaining: int
    data_sources: dict[int, DataSource]
    dashboards: dict[int, Dashboard]
    reports: dict[int, Report]
    goals: dict[int, Goal]
    sequences: dict[str, int]
    """The last number given out, per kind of thing."""
    jobs: list[Job] = []
    failing_jobs: dict[JobKind, list[str]] = {}
    """Error texts for the next jobs of a kind."""
    webhooks: dict[int, Webhook] = {}
    deliveries: dict[int, Delivery] = {}
    last_event_ms: int = 0
    """The `timestamp` of the latest event in Unix milliseconds; no two events share one."""

    def next_id(self, kind: str) -> int:
        """The next number for a new thing of this kind."""
        self.sequences[kind] = self.sequences.get(kind, 0) + 1
        return self.sequences[kind]
