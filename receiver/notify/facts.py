"""What conditions see of an event: only what they name of it, converted for CEL once for all.

CEL's values are its own, and each evaluation copies the part of the body that is reached through:
with the whole body, 200 conditions would cost milliseconds, and one of a megabyte half a second
for every single one. So the paths that the conditions name are cut out of it first.
"""

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from receiver.model import Event

if TYPE_CHECKING:
    import cel

MAX_VALUES = 20_000
"""More values are not converted: it takes up to 5 µs for each, in which nothing else runs."""

Path = tuple[str, ...]
"""`("data", "remaining")`: what `event.data.remaining` names; `()` is the whole body."""

# Every `event` counts, also one in a text or after a dot: a path too many does no harm.
_EVENT = re.compile(r"(?<!\w)event(?!\w)((?:\s*\.\s*[A-Za-z_]\w*)*)(\s*\()?", re.ASCII)


def paths_in(expression: str) -> frozenset[Path]:
    """The paths of the body that a condition can look at; where it takes a value by an index, or
    calls a method on one, all of that value.

    >>> sorted(paths_in("event.data.id == 1 || event.data.name.startsWith('a')"))
    [('data', 'id'), ('data', 'name')]
    >>> sorted(paths_in("event.data.id == 1 || event['x'] == 2"))
    [()]
    """
    found = set()
    for match in _EVENT.finditer(expression):
        steps = tuple(step.strip() for step in match[1].split(".")[1:])
        found.add(steps[:-1] if match[2] and steps else steps)
    return shortest(found)


def shortest(paths: Collection[Path]) -> frozenset[Path]:
    """The paths without those that another one leads to: `()` has all in it."""
    known = frozenset(paths)
    return frozenset(
        path for path in known if not any(path[:depth] in known for depth in range(len(path)))
    )


class Size(NamedTuple):
    """How much conditions have to look at."""

    values: int
    longest_text: int
    """Of the texts in it, in characters."""


class Facts:
    """An event's values on those paths, with `source` and `received_at`. For one thread.

    Looking at them raises ValueError if the body is no JSON.
    """

    def __init__(self, event: Event, paths: Collection[Path]) -> None:
        """`paths` as `shortest` gives them."""
        self.event = event
        self.most = Size(len(event.body) // 2 + 1, len(event.body))
        """More than this it is not: no JSON value is shorter, with its comma."""
        self.is_small = self.most.values <= MAX_VALUES
        self._paths = paths

    @cached_property
    def size(self) -> Size:
        """How much it is; of more than `MAX_VALUES` not all is counted."""
        values = longest = 0
        for value in _each(self._reached()):
            values += 1
            if isinstance(value, str):
                longest = max(longest, len(value))
            if values > MAX_VALUES:
                break
        return Size(values, longest)

    @cached_property
    def context(self) -> "cel.Context":
        """The values as CEL has them."""
        import cel  # noqa: PLC0415 - 0.2 s of import that what has no conditions need not pay

        return cel.Context(
            {
                "event": self._cut_out(),
                "source": self.event.source,
                "received_at": self.event.received_at,
            }
        )

    def _reached(self) -> Iterator[Any]:
        """What the paths lead to: the value at their end, or the one that they end at too early."""
        for path in self._paths:
            value = self.event.json
            for step in path:
                if not isinstance(value, dict):
                    break
                value = value.get(step)
            yield value

    def _cut_out(self) -> Any:
        """The body with nothing in it but what the paths lead to."""
        body = self.event.json
        if () in self._paths or not isinstance(body, dict):
            return body
        cut: dict[str, Any] = {}
        for path in self._paths:
            there, here = body, cut
            for depth, step in enumerate(path, 1):
                if step not in there:
                    break
                value = there[step]
                if depth == len(path) or not isinstance(value, dict):
                    here[step] = value
                    break
                there, here = value, here.setdefault(step, {})
        return cut


def _each(values: Iterator[Any]) -> Iterator[Any]:
    """Every value in these, at any depth; not recursive, as bodies are deep."""
    left = [values]
    while left:
        for value in left[-1]:
            yield value
            if isinstance(value, dict):
                left.append(iter(value.values()))
                break
            if isinstance(value, list):
                left.append(iter(value))
                break
        else:
            left.pop()
