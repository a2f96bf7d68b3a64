"""The outbox: every message goes through it on its way into the store, whoever says it.

For each target it decides whether the delivery goes out at once or is held, and by what. Pure:
what depends on other deliveries (a group's timer, a throttle's count) the store decides by the
`Hold`, in the transaction that inserts the delivery. The releaser asks here once more before it
lets anything go (`still_held`).
"""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from receiver.durations import format_duration
from receiver.fields import field_at
from receiver.holds import NO_RULES, Hold, NoiseRules, Throttle
from receiver.model import Event, Message, NewDelivery, Severity, StagedMessage, from_ms, to_ms
from receiver.printable import storable
from receiver.quiet import QuietHours
from receiver.settings.channels import ChannelSettings

TargetDeliveries = Callable[[str], tuple[NewDelivery, ...]]
"""The deliveries that carry a message of this channel: one per target."""

Silenced = Callable[[Message, Event, int], Hold | None]
"""The silence that keeps a message back at that moment (ms), if one does. Cheap, does no I/O."""

CatchUp = Callable[[], Awaitable[None]]
"""Learns which silences were added or ended since the last time."""

AddLink = Callable[[Message, Event, int], Message]
"""Adds the link that acknowledges the event, at that moment (ms)."""

_LONGEST_GROUP = 200


@dataclass(frozen=True, kw_only=True)
class ChannelRules:
    """When a channel's messages are held."""

    quiet: QuietHours | None = None
    unless: Severity | None = None
    """What is as severe as this goes out in quiet hours too; None: nothing does."""
    noise: NoiseRules = NO_RULES


NOTHING_HELD = ChannelRules()


def channel_rules(settings: ChannelSettings) -> ChannelRules:
    """What the settings of a channel say of holding its messages."""
    quiet = settings.quiet_hours
    noise = settings.noise.over(NO_RULES)
    if quiet is None:
        return ChannelRules(noise=noise)
    return ChannelRules(quiet=quiet.hours, unless=quiet.unless, noise=noise)


def _never(_message: Message, _event: Event, _now_ms: int) -> Hold | None:
    return None


async def _knows_all() -> None:
    return None


def _no_link(message: Message, _event: Event, _now_ms: int) -> Message:
    return message


class Outbox:
    """Stages messages. Made anew when the settings are; used from any thread."""

    def __init__(
        self,
        target_deliveries: TargetDeliveries,
        channels: Mapping[str, ChannelRules],
        *,
        silenced: Silenced = _never,
        catch_up: CatchUp = _knows_all,
        add_link: AddLink = _no_link,
    ) -> None:
        """`silenced` is asked first, when a message is staged and when it is released; `catch_up`
        is to be awaited before either. `add_link` is for messages that escalate."""
        self._target_deliveries = target_deliveries
        self._channels = channels
        self._silenced = silenced
        self.catch_up = catch_up
        self._add_link = add_link

    def stage(
        self, messages: Sequence[Message], event: Event, now_ms: int | None = None
    ) -> tuple[StagedMessage, ...]:
        """Each message with one delivery per target, and the hold that applies to it."""
        if not messages:
            return ()
        now = int(time.time() * 1000) if now_ms is None else now_ms
        return tuple(self._stage_one(message, event, now) for message in messages)

    def _stage_one(self, message: Message, event: Event, now_ms: int) -> StagedMessage:
        message = replace(
            message,
            title=storable(message.title),
            body=storable(message.body),
            bodies={format_: storable(body) for format_, body in message.bodies.items()},
        )
        if message.escalations:
            message = self._add_link(message, event, now_ms)
        deliveries = tuple(
            new._replace(hold=self.hold(message, event, new.name, now_ms))
            for new in self._target_deliveries(message.channel)
        )
        return StagedMessage(message, deliveries + self._escalations(message, now_ms))

    def _escalations(self, message: Message, now_ms: int) -> tuple[NewDelivery, ...]:
        made: list[NewDelivery] = []
        for step in message.escalations:
            after = format_duration(timedelta(milliseconds=step.after_ms))
            hold = Hold(
                "escalation",
                f"goes out if nobody acknowledges within {after}",
                until_ms=now_ms + step.after_ms,
                group=step.incident,
            )
            made += [
                new._replace(hold=hold, note=f"Not acknowledged for {after}")
                for channel in step.channels
                for new in self._target_deliveries(channel)
            ]
        return tuple(made)

    def hold(self, message: Message, event: Event, target: str, now_ms: int) -> Hold | None:
        """What holds a message to one target; None sends it at once."""
        rules = self._rules_of(target)
        noise = rules.noise if message.noise is None else message.noise.over(rules.noise)
        group = group_key(noise.scope, noise.group_by, message, event)
        every_ms = 0 if noise.group_by is None else noise.every_ms
        throttle = _throttle(noise, message, event)
        hold = self.still_held(message, event, target, now_ms)
        if hold is not None:
            # What comes together in its group goes out together, when this ends.
            return hold._replace(group=group or hold.group, every_ms=every_ms,
                                 throttle=throttle)  # fmt: skip
        if noise.group_by is not None:
            return Hold(
                "group",
                f"waits for others of {_shown(noise.group_by, message, event)}",
                group=group,
                wait_ms=noise.wait_ms,
                every_ms=every_ms,
                throttle=throttle,
            )
        if throttle is not None:
            assert noise.throttle is not None, "it made the throttle"
            return Hold(
                "throttle",
                f"over {noise.throttle} of {_shown(noise.throttle_by, message, event)}",
                group=throttle.key,
                throttle=throttle,
            )
        return None

    def still_held(self, message: Message, event: Event, target: str, now_ms: int) -> Hold | None:
        """What holds it back whether it is new or has been held before: a silence, quiet hours."""
        silence = self._silenced(message, event, now_ms)
        if silence is not None:
            return silence
        rules = self._rules_of(target)
        if rules.quiet is None or _is_at_least(message.severity, rules.unless):
            return None
        end = rules.quiet.ends_at(from_ms(now_ms))
        if end is None:
            return None
        return Hold("quiet", f"quiet hours until {_local(end, rules.quiet)}", to_ms(end))

    def _rules_of(self, target: str) -> ChannelRules:
        return self._channels.get(target.partition("/")[0], NOTHING_HELD)


def group_key(scope: str, fields: Sequence[str] | None, message: Message, event: Event) -> str:
    """What has the same key is put together; "" for all that has no fields and no scope.

    >>> from datetime import UTC
    >>> event = Event(id="evt_1", seq=1, source="claribi", type="t", received_at=datetime.now(UTC),
    ...               body=b'{"data": {"id": 4}}')
    >>> message = Message(channel="ops", title="a", body="b")
    >>> group_key("", ("type", "data.id", "data.none"), message, event)
    '["t",4,null]'
    """
    if not fields:
        return scope
    values = [_field(field, message, event) for field in fields]
    key = scope + json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    if len(key) <= _LONGEST_GROUP:
        return key
    return f"{key[:100]}…{hashlib.sha256(key.encode()).hexdigest()}"


def _field(field: str, message: Message, event: Event) -> Any:
    """A field's value; None if the event has nothing there."""
    words = {"type": event.type, "source": event.source, "severity": message.severity.value,
             "title": message.title}  # fmt: skip
    if field in words:
        return words[field]
    try:
        return field_at(event.json, field)
    except (ValueError, RecursionError):
        return None


def _throttle(noise: NoiseRules, message: Message, event: Event) -> Throttle | None:
    if noise.throttle is None:
        return None
    key = group_key(noise.scope, noise.throttle_by, message, event)
    return Throttle(key, noise.throttle.count, int(noise.throttle.per_seconds * 1000))


def _shown(fields: Sequence[str], message: Message, event: Event) -> str:
    """The fields with their values, for a person."""
    if not fields:
        return "this target"
    pairs = (f"{each} {_brief(_field(each, message, event))}" for each in fields)
    return storable(", ".join(pairs))[:_LONGEST_GROUP]


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_at_least(severity: Severity, unless: Severity | None) -> bool:
    return unless is not None and severity.rank >= unless.rank


def _local(moment: datetime, quiet: QuietHours) -> str:
    local = moment.astimezone(quiet.zone)
    return f"{local:%a %H:%M} {quiet.zone.key}"
