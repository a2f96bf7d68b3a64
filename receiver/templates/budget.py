"""How much work and how much text one rendering may make, counted while it goes on."""

import time
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any, TypeVar

from jinja2 import TemplateRuntimeError

T = TypeVar("T")

MAX_STEPS = 20_000
"""Rounds of all loops, calls and includes of one rendering together."""
MAX_SECONDS = 0.25
"""A handler that holds the event loop for longer is named in the log; a template is ended."""
MAX_CHARS = 65_536
"""Of a rendered text, and of any text that a template puts together on the way."""
MAX_ITEMS = 10_000
"""Of a list that a template makes."""


class TooMuch(TemplateRuntimeError):
    """A template asked for more work or more text than a message is worth."""


class Budget:
    """What is left of one rendering's steps and time."""

    __slots__ = ("_ends_at", "_left")

    def __init__(self, steps: int = MAX_STEPS, seconds: float = MAX_SECONDS) -> None:
        self._left = steps
        self._ends_at = time.monotonic() + seconds

    def spend(self) -> None:
        """Take one step. Raises TooMuch when none is left, or the time is up."""
        self._left -= 1
        if self._left < 0:
            raise TooMuch(f"it takes more than {MAX_STEPS} steps; does it loop for ever?")
        if not self._left % 16 and time.monotonic() > self._ends_at:
            raise TooMuch(f"it takes longer than {MAX_SECONDS:g} s")


current: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""That of the rendering that is going on; None while templates are being compiled."""


def spend() -> None:
    """Take one step of the rendering that is going on."""
    budget = current.get()
    if budget is not None:
        budget.spend()


def each(items: Iterable[T]) -> Iterator[T]:
    """The items, each for one step."""
    for item in items:
        spend()
        yield item


def bounded_range(*bounds: int) -> range:
    """As `range`, of at most `MAX_ITEMS` numbers. Raises TooMuch for more."""
    numbers = range(*bounds)
    if len(numbers) > MAX_ITEMS:
        raise TooMuch(f"a range of more than {MAX_ITEMS} numbers")
    return numbers


def join(pieces: Iterable[Any]) -> str:
    """The pieces as one text. Raises TooMuch if it is longer than `MAX_CHARS`."""
    kept, room = [], MAX_CHARS
    for piece in pieces:
        text = piece if isinstance(piece, str) else str(piece)
        room -= len(text)
        if room < 0:
            raise TooMuch(f"a text of more than {MAX_CHARS} characters")
        kept.append(text)
    return "".join(kept)


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Raise TooMuch for an operation whose result could be huge."""
    if operator == "%" and isinstance(left, str | bytes):
        raise TooMuch("no % on a text; use ~ and the filters")
    if operator == "+" and isinstance(left, Sized) and isinstance(right, Sized):
        most = MAX_CHARS if isinstance(left, str) else MAX_ITEMS
        if len(left) + len(right) > most:
            raise TooMuch(f"a value of more than {most} parts")
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(many, Sized) and isinstance(times, int) and len(many) * times > MAX_ITEMS:
                raise TooMuch(f"a value of more than {MAX_ITEMS} parts")
    if operator in ("*", "**"):
        bits = max(
            (abs(number).bit_length() for number in (left, right) if isinstance(number, int)),
            default=0,
        )
        if bits > (64 if operator == "*" else 10):
            raise TooMuch("a number that is too large")
