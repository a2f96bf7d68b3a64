"""Digests: many held messages told as one. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from receiver.model import DeliveryId, Event, Message, Severity, format_delivery_id

MOST_LINES = 20
"""Titles that are listed; the others are counted."""
MOST_BODIES = 5
MOST_BODY_CHARS = 500


@dataclass
class Digest:
    """Gathers a group's messages, oldest first; keeps of each title its count and latest body."""

    target: str
    titles: Counter[str] = field(default_factory=Counter)
    _bodies: dict[str, str] = field(default_factory=dict)
    _severity: Severity = Severity.INFO
    _first: datetime | None = None
    _last: datetime | None = None

    def add(self, message: Message, event: Event) -> None:
        """Take one more in."""
        self.titles[message.title] += 1
        self._bodies[message.title] = message.body[:MOST_BODY_CHARS]
        self._severity = max(self._severity, message.severity, key=attrgetter("rank"))
        self._first = min(self._first or event.received_at, event.received_at)
        self._last = max(self._last or event.received_at, event.received_at)

    def message(self, delivery_id: DeliveryId) -> Message:
        """The digest that goes out by that delivery; at least one was added."""
        shown = format_delivery_id(delivery_id)
        return Message(
            channel=self.target.partition("/")[0],
            title=self._title(),
            body="\n".join(
                [*self._lines(), "", f"Each of them: clarihook deliveries list --digest {shown}"]
            ),
            severity=self._severity,
        )

    def _title(self) -> str:
        count, kinds = self.titles.total(), len(self.titles)
        if kinds == 1:
            (title,) = self.titles
            return f"{count} \N{MULTIPLICATION SIGN} {title}"
        return f"{count} messages of {kinds} kinds"

    def _lines(self) -> list[str]:
        assert self._first is not None, "something was added"
        assert self._last is not None, "something was added"
        count = self.titles.total()
        lines = [f"{count} messages, {_time(self._first)} to {_time(self._last)}", ""]
        common = self.titles.most_common()
        lines += [
            f"{number} \N{MULTIPLICATION SIGN} {title}" for title, number in common[:MOST_LINES]
        ]
        if left := common[MOST_LINES:]:
            rest = sum(number for _, number in left)
            lines.append(f"and {rest} more, of {len(left)} other kinds")
        for title, _ in common[:MOST_BODIES]:
            if self._bodies[title] != title:
                lines += ["", f"Latest of {title}:", self._bodies[title]]
        return lines


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
