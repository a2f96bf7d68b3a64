"""The settings of a route. The words under a setting are what docs/configuration.md says."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from receiver.model import Severity
from receiver.settings.checks import parse_cel, parse_template
from receiver.settings.section import Section
from receiver.settings.values import Text, one_or_many

Template = Annotated[str, AfterValidator(parse_template)]


class RouteSettings(Section):
    """A rule that sends a message about matching events, without a handler."""

    match: Text = "*"
    """The event types it is for, such as "billing.*"."""
    source: str | None = None
    """The only source it is for; unset is every source."""
    when: Annotated[str, AfterValidator(parse_cel)] | None = None
    """A CEL condition on the event, such as "event.data.remaining < 100"."""
    notify: Annotated[tuple[str, ...], BeforeValidator(one_or_many), Field(min_length=1)]
    """The channels that get the message."""
    severity: Severity = Severity.INFO
    """The message's severity: "info", "success", "warning" or "critical"."""
    title: Template | None = None
    """The message's title, a Jinja template; unset is the event's type."""
    body: Template | None = None
    """The message's body, a Jinja template; unset is a listing of the event's data."""
