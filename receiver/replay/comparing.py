"""What a handler would say now that it did not say then. Pure."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from receiver.model import Message

Verdict = Literal["same", "changed", "new", "gone"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One message that is not as it was; None is that there is none."""

    then: Message | None
    now: Message | None

    @property
    def lines(self) -> list[str]:
        """As a diff: `- ` was said then, `+ ` would be said now, two blanks are the same."""
        then, now = _lines(self.then), _lines(self.now)
        if then == now:  # so it is the same message in another format that differs
            then, now = _other_lines(self.then), _other_lines(self.now)
        diff = difflib.unified_diff(then, now, n=1, lineterm="")
        return [f"{line[0]} {line[1:]}" for line in list(diff)[2:] if not line.startswith("@@")]


def compare(then: Sequence[Message], now: Sequence[Message]) -> list[Change]:
    """The messages that differ. Which message is which is told by the channel and the order.

    >>> compare([], [Message(channel="ops", title="Low", body="3 left")])[0].lines
    ['+ to ops, info: Low', '+ 3 left']
    """
    left, right = list(then), list(now)
    for message in then:
        if message in right:
            left.remove(message)
            right.remove(message)
    changes = []
    for message in left:
        partner = next((each for each in right if each.channel == message.channel), None)
        if partner is not None:
            right.remove(partner)
        changes.append(Change(then=message, now=partner))
    return changes + [Change(then=None, now=message) for message in right]


def verdict_of(then: Sequence[Message], now: Sequence[Message], changes: list[Change]) -> Verdict:
    """What became of all that is said about an event."""
    if not changes:
        return "same"
    if not then:
        return "new"
    return "changed" if now else "gone"


def comparable(message: Message) -> Message:
    """A message as far as the store gives it back: an attachment's content is not looked at."""
    return Message(
        channel=message.channel,
        title=message.title,
        body=message.body,
        severity=message.severity,
        format=message.format,
        bodies=message.bodies,
    )


def _lines(message: Message | None) -> list[str]:
    if message is None:
        return []
    form = "" if message.format == "text" else f", {message.format}"
    head = f"to {message.channel}, {message.severity}{form}: {message.title}"
    return [head, *(message.body.splitlines() if message.body != message.title else ())]


def _other_lines(message: Message | None) -> list[str]:
    bodies = {} if message is None else message.bodies
    return [
        line
        for format_ in sorted(bodies)
        for line in (f"{format_}:", *bodies[format_].splitlines())
    ]
