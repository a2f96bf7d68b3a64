"""What one check has found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will or may not some day."""
    FAULT = "fault"
    """Something does not work now."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    check: str
    """What was looked at, in a word: `disk`."""
    verdict: Verdict
    text: str
    remedy: str = ""
    """What to do about it; empty if nothing is to be done."""


def ok(check: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, verdict=Verdict.OK, text=text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(check=check, verdict=Verdict.WARNING, text=text, remedy=remedy)


def fault(check: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check=check, verdict=Verdict.FAULT, text=text, remedy=remedy)
