"""The webhook envelope and one pydantic model per clariBI event.

Source: the vendor's API reference, section "Webhooks". It gives the envelope and the payload of
`data_source.sync_completed` only, so that model alone requires its fields. The other four are
our reading of likely names: every field is optional, one that came in another shape reads as
None, and whatever else came is kept (`data.get("name")`, `data.model_extra`). The raw payload is
always in `ctx.event.json`.

Below them stands what clarihook itself tells: `DeliveryDead`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from receiver.model import DeliveryKind

T = TypeVar("T")


def _or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _or_received_at(
    value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> datetime:
    """An aware UTC moment: naive is read as UTC, missing or unreadable as the time of arrival."""
    try:
        moment: datetime = validate(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValidationError, OverflowError):  # overflow: year 9999 west of Greenwich
        received_at: datetime | None = (info.context or {}).get("received_at")
        return received_at or datetime.now(UTC)


def _as_object(value: Any) -> Any:
    """A payload that is no object is still kept: as the one field `value`."""
    if isinstance(value, dict | BaseModel):
        return value
    return {} if value is None else {"value": value}


Maybe = Annotated[T | None, WrapValidator(_or_none)]
"""A field that the vendor may not send, or may send in another shape: then it is None."""

Moment = Annotated[datetime, WrapValidator(_or_received_at)]
Payload = Annotated[T, BeforeValidator(_as_object)]


class EventData(BaseModel):
    """The `data` of an event. Fields that the model does not name are kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    def get(self, name: str, default: Any = None) -> Any:
        """The field of that name, whether the model knows it or not."""
        if name in type(self).model_fields:
            return getattr(self, name)
        return (self.model_extra or {}).get(name, default)


class ClariBIEvent(BaseModel):
    """Any clariBI webhook, known or not: its type, its time and its data."""

    model_config = ConfigDict(extra="allow")

    event: str
    timestamp: Moment = Field(default=None, validate_default=True)
    """When it happened, aware UTC; the time of arrival if the body has none."""
    data: Payload[EventData] = Field(default_factory=EventData)


class SyncCompletedData(EventData):
    """What the reference documents, all of it required."""

    data_source_id: int
    data_source_name: str
    records_synced: int
    duration_seconds: FiniteFloat


class SyncCompleted(ClariBIEvent):
    """A data source sync finished."""

    event: Literal["data_source.sync_completed"]
    data: SyncCompletedData


class SyncFailedData(EventData):
    """Assumed: the reference shows no example."""

    data_source_id: Maybe[int] = None
    data_source_name: Maybe[str] = None
    error: Maybe[str] = Field(
        default=None,
        validation_alias=AliasChoices(
            AliasPath("error", "message"), "error", "error_message", "message", "reason"
        ),
    )
    duration_seconds: Maybe[FiniteFloat] = None


class SyncFailed(ClariBIEvent):
    """A data source sync failed."""

    event: Literal["data_source.sync_failed"]
    data: Payload[SyncFailedData] = Field(default_factory=SyncFailedData)


class ReportGeneratedData(EventData):
    """Assumed: the reference shows no example."""

    report_id: Maybe[int] = Field(
        default=None, validation_alias=AliasChoices("report_id", "id", AliasPath("report", "id"))
    )
    report_name: Maybe[str] = Field(
        default=None,
        validation_alias=AliasChoices("report_name", "name", AliasPath("report", "name")),
    )
    status: Maybe[str] = None
    credits_used: Maybe[FiniteFloat] = None
    task_id: Maybe[str] = None


class ReportGenerated(ClariBIEvent):
    """A report finished generating."""

    event: Literal["report.generated"]
    data: Payload[ReportGeneratedData] = Field(default_factory=ReportGeneratedData)


class GoalReachedData(EventData):
    """Assumed: the reference shows no example, and the API has no endpoint for goals."""

    goal_id: Maybe[int] = Field(
        default=None, validation_alias=AliasChoices("goal_id", "id", AliasPath("goal", "id"))
    )
    goal_name: Maybe[str] = Field(
        default=None,
        validation_alias=AliasChoices("goal_name", "name", AliasPath("goal", "name"), "goal"),
    )
    milestone: Maybe[FiniteFloat | str] = None
    current_value: Maybe[FiniteFloat] = None
    target_value: Maybe[FiniteFloat] = None


class GoalReached(ClariBIEvent):
    """A goal milestone was reached."""

    event: Literal["goal.milestone_reached"]
    data: Payload[GoalReachedData] = Field(default_factory=GoalReachedData)


class CreditsLowData(EventData):
    """Assumed: the reference only says that credits are below 10 %."""

    remaining: Maybe[FiniteFloat] = Field(
        default=None,
        validation_alias=AliasChoices(
            "remaining",
            "credits_remaining",
            "ai_credits_remaining",
            AliasPath("ai_credits", "remaining"),
        ),
    )
    total: Maybe[FiniteFloat] = Field(
        default=None,
        validation_alias=AliasChoices(
            "total", "credits_total", "ai_credits_total", AliasPath("ai_credits", "total")
        ),
    )
    percent: Maybe[FiniteFloat] = Field(
        default=None, validation_alias=AliasChoices("percent", "percentage", "percent_remaining")
    )
    threshold: Maybe[FiniteFloat] = Field(
        default=None, validation_alias=AliasChoices("threshold", "threshold_percent")
    )


class CreditsLow(ClariBIEvent):
    """The AI credits are below 10 %."""

    event: Literal["billing.credits_low"]
    data: Payload[CreditsLowData] = Field(default_factory=CreditsLowData)


MODELS: dict[str, type[ClariBIEvent]] = {
    "data_source.sync_completed": SyncCompleted,
    "data_source.sync_failed": SyncFailed,
    "report.generated": ReportGenerated,
    "goal.milestone_reached": GoalReached,
    "billing.credits_low": CreditsLow,
}
"""Every event that the reference names; any other type is a `ClariBIEvent`."""


class DeliveryDeadData(EventData):
    """The delivery that is dead, and why. No payload and no secret."""

    delivery_id: str
    """As commands take it: `dlv_…`."""
    kind: DeliveryKind
    name: str
    """The handler's name, or the target's: `ops/1-slack`."""
    event_id: str
    """The event that the delivery was for."""
    event_type: str
    source: str
    attempts: int
    reason: str | None
    error_class: str | None
    error: str | None
    """What its last attempt ended with, secrets masked."""
    channel: str | None
    """Of the message that a target did not take; None for a handler's delivery."""


class DeliveryDead(ClariBIEvent):
    """A delivery is dead. Raised by clarihook itself, with the source `clarihook`."""

    event: Literal["clarihook.delivery.dead"]
    data: DeliveryDeadData
