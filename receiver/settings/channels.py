"""The settings of a channel. The words under a setting are what docs/configuration.md says."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from receiver.durations import parse_duration
from receiver.holds import NO_RULES, NoiseOptions
from receiver.retry import RetryOptions, RetryPolicy
from receiver.settings.noise import (
    EventFields,
    QuietHoursSettings,
    ThrottleValue,
    noise_options,
)
from receiver.settings.retrying import (
    DEFAULT_SCHEDULE,
    BackoffSettings,
    Errors,
    Jitter,
    Schedule,
    retry_options,
)
from receiver.settings.section import Section
from receiver.settings.values import (
    Count,
    Duration,
    PositiveDuration,
    RateValue,
    TargetUrl,
    one_or_many,
)


class ChannelSettings(Section):
    """A named set of targets that handlers and routes speak to."""

    urls: Annotated[
        tuple[TargetUrl, ...],
        BeforeValidator(one_or_many),
        Field(min_length=1),
    ]
    """The targets: Apprise URLs, "file://PATH" to append to a file, or references to these."""
    rate: RateValue | None = None
    """Messages sent to each target at most, such as "1/s" or "30/m burst 5"; unset is no limit."""
    concurrency: Count = 1
    """Messages sent to each target at the same time; with 1 they go out in order."""
    circuit_failures: Annotated[int, Field(ge=0)] = 5
    """Failures in a row after which a target is left alone for a while; 0 is never."""
    circuit_pause: PositiveDuration = parse_duration("30s")
    """How long at first; each failed try after it doubles the wait, up to 10 minutes."""
    timeout: PositiveDuration = parse_duration("20s")
    """How long sending one message may take."""
    attempts: Count = 8
    """Attempts to send a message to a target before its delivery is dead."""
    schedule: Schedule = DEFAULT_SCHEDULE
    """Waits between the attempts; the last one repeats."""
    backoff: BackoffSettings | None = None
    """Waits that grow, instead of the schedule."""
    jitter: Jitter = RetryPolicy.jitter
    """How far a wait may be from that, as a fraction of it: 0 is exact, 1 from none to double."""
    max_age: PositiveDuration | None = None
    """How long after a message was made it may be sent again; unset is no limit."""
    final: Errors = ()
    """HTTP statuses and error classes after which a message is dead at once."""
    retry_on: Errors = ()
    """HTTP statuses and error classes that are tried again although they are permanent."""
    fallback: str | None = None
    """The channel that gets what a target here is dead for, with all its targets; unset is none."""
    quiet_hours: QuietHoursSettings | None = None
    """When its messages are held until morning; unset is never."""
    group_by: EventFields | None = None
    """Fields of the event: messages with equal values go out together, as one digest. [] is all of
    them; unset groups nothing."""
    wait: Duration = timedelta(milliseconds=NO_RULES.wait_ms)
    """How long the first message of a group waits for others."""
    every: Duration = timedelta(milliseconds=NO_RULES.every_ms)
    """How long after a digest the next one of its group may go out."""
    throttle: ThrottleValue | None = None
    """Messages sent to each target per window, such as "5/h"; the rest goes out as one summary."""
    throttle_by: EventFields = ()
    """Fields of the event: each of their values is counted for itself; [] counts all together."""

    @property
    def noise(self) -> NoiseOptions:
        """How its messages are grouped and throttled."""
        return noise_options(self)

    @property
    def retry(self) -> RetryOptions:
        """The policy of the messages to this channel's targets."""
        return retry_options(self, final=self.final, retry_on=self.retry_on)
