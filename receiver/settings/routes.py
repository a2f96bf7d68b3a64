"""The settings of a route. The words under a setting are what docs/configuration.md says."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from receiver.holds import NoiseOptions
from receiver.model import Severity
from receiver.settings.checks import parse_cel, parse_template
from receiver.settings.noise import EventFields, ThrottleValue, noise_options
from receiver.settings.section import Section
from receiver.settings.values import (
    Duration,
    ForwardUrl,
    PositiveDuration,
    SigningSecret,
    Text,
    one_or_many,
)

Template = Annotated[str, AfterValidator(parse_template)]


def _route_name(name: str) -> str:
    # A letter first: a route without a name goes by its number.
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name, re.ASCII):
        raise ValueError("is no name; use a-z, 0-9, - and _, at most 64, a letter first")
    return name


class EscalationSettings(Section):
    """A step of an escalation: who hears of an event that nobody has acknowledged."""

    after: PositiveDuration
    """How long after the first message, such as "15m"."""
    notify: Annotated[tuple[str, ...], BeforeValidator(one_or_many), Field(min_length=1)]
    """The channels that get the message then."""


class RouteSettings(Section):
    """A rule that sends a message about matching events, or forwards them, without a handler."""

    name: Annotated[str, AfterValidator(_route_name)] | None = None
    """What explanations and notes call it, such as "low-credits"; unset is its number."""
    match: Text = "*"
    """The event types it is for, such as "billing.*"."""
    source: str | None = None
    """The only source it is for; unset is every source."""
    when: Annotated[str, AfterValidator(parse_cel)] | None = None
    """A CEL condition on the event, such as "event.data.remaining < 100"."""
    goes_on: bool = Field(default=True, alias="continue")
    """Whether later routes are looked at once this one has matched; false ends the list."""
    notify: Annotated[tuple[str, ...], BeforeValidator(one_or_many), Field(min_length=1)] = ()
    """The channels that get the message."""
    resolve: Text | None = None
    """The type of the event that says it is well again, such as "data_source.sync_completed"."""
    resolve_by: Text | None = None
    """What tells one thing from another in both events, such as "data.data_source_id"."""
    escalate: tuple[EscalationSettings, ...] = ()
    """Who gets the message next, and after them, as long as nobody acknowledges the event."""
    forward: ForwardUrl | None = None
    """An http:// or https:// address that the webhook itself is posted to; may be a reference."""
    forward_secret: SigningSecret | None = None
    """Signs what is forwarded, by Standard Webhooks: a reference to a whsec_ secret."""
    allow_private: bool = False
    """Whether `forward` may lead to this machine or into a private network."""
    severity: Severity = Severity.INFO
    """The message's severity: "info", "success", "warning" or "critical"."""
    template: Text | None = None
    """The message's template, such as "billing.credits_low"; unset is that of the event's type."""
    title: Template | None = None
    """The message's title, a Jinja template; unset is the template's, or the event's type."""
    body: Template | None = None
    """The message's body, a Jinja template; unset is the template's, or a listing of the data."""
    group_by: EventFields | None = None
    """As the channel's `group_by`, for what this route says alone; unset is the channel's."""
    wait: Duration | None = None
    """How long the first message of a group waits; unset is the channel's."""
    every: Duration | None = None
    """How long after a digest the next one may go out; unset is the channel's."""
    throttle: ThrottleValue | None = None
    """Messages of this route sent to each target per window; unset is the channel's."""
    throttle_by: EventFields | None = None
    """Fields of the event that are counted for themselves; unset is the channel's."""

    @property
    def noise(self) -> NoiseOptions:
        """How its messages are grouped and throttled, where that is not the channel's way."""
        return noise_options(self)
