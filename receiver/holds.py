"""What keeps a message back for a while: why, with which others, and until when."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from receiver.rate import Rate

HoldKind = Literal["quiet", "silence", "group", "throttle", "escalation"]


class Throttle(NamedTuple):
    """At most `limit` messages per window; the rest waits for the window's end."""

    key: str
    """Of one target: what has the same key shares the window."""
    limit: int
    window_ms: int


class Hold(NamedTuple):
    """Why a delivery to a target does not go out at once.

    What is held for one target with the same kind and group goes out as one message, a digest if
    they are several. An `escalation` is never merged.
    """

    kind: HoldKind
    reason: str
    """In words, for a person."""
    until_ms: int | None = None
    """When it goes out. None: the store decides by the group's timer, or by the throttle's count,
    in the transaction that inserts the delivery."""
    group: str = ""
    wait_ms: int = 0
    """Of a group: how long its first one waits."""
    every_ms: int = 0
    """Of a group: how long the next ones wait after it went out."""
    throttle: Throttle | None = None
    """Counts what goes out: at once for the kind `throttle`, else when the hold ends."""
    silence: int | None = None
    """The number of the silence that it is."""


class Escalation(NamedTuple):
    """Where a message goes next if nobody has acknowledged its event by then."""

    after_ms: int
    channels: tuple[str, ...]
    incident: str
    """What it is a part of, the hold's group: an acknowledgement, or a recovery, cancels all of it
    at once, and while one event's escalation waits for a target, that of another waits not."""


@dataclass(frozen=True, kw_only=True)
class NoiseRules:
    """How messages are put together and slowed down: a channel's rules, or a route's own."""

    scope: str = ""
    """Whose rules these are: "" for the channel's, else the route's name or number. What is under
    different rules is never put together."""
    group_by: tuple[str, ...] | None = None
    """Fields of the event; None groups nothing, `()` puts all of a target together."""
    wait_ms: int = 30_000
    every_ms: int = 300_000
    throttle: Rate | None = None
    throttle_by: tuple[str, ...] = ()


NO_RULES = NoiseRules()


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """What a route says of grouping and throttling; None leaves it to the channel."""

    scope: str = ""
    group_by: tuple[str, ...] | None = None
    wait_ms: int | None = None
    every_ms: int | None = None
    throttle: Rate | None = None
    throttle_by: tuple[str, ...] | None = None

    def over(self, rules: NoiseRules) -> NoiseRules:
        """The channel's rules with these in their place.

        >>> NoiseOptions(scope="route a", wait_ms=5).over(NoiseRules(every_ms=7)).every_ms
        7
        """
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(rules, **mine)


NO_OPTIONS = NoiseOptions()
