"""A benchmark's table: what was measured, what was asked for, and whether it is met."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is what was asked for; True if nothing was."""
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def __str__(self) -> str:
        bar = ""
        if self.at_least is not None:
            bar = f"at least {self.at_least:g}"
        elif self.at_most is not None:
            bar = f"at most {self.at_most:g}"
        verdict = "" if not bar else "met" if self.is_met else "NOT MET"
        return f"{self.what:58}{self.value:11,.2f} {self.unit:6}{bar:>16}  {verdict}".rstrip()


def ratio(mine: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(m / o for m, o in zip(mine, others, strict=True))


def show(title: str, lines: Sequence[Line]) -> bool:
    """Print the lines; whether every bar is met."""
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")
    return all(line.is_met for line in lines)
