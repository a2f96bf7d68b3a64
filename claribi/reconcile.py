"""Looking up whether a POST of unknown outcome happened."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SKEW = timedelta(seconds=5)
"""How far the server's clock may be behind ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What was found. `found` is empty when nothing of it is there *yet*."""

    found: tuple[Any, ...]
    """The models that the call may have made or changed, newest last."""
    note: str
    """How they were looked for, for a person."""

    @property
    def happened(self) -> bool:
        """Whether anything was found that only this call explains, or one just like it."""
        return bool(self.found)


def since(started_at: float) -> datetime:
    """The moment from which a trace of a call may be: its start (Unix seconds), less the skew."""
    return datetime.fromtimestamp(started_at, UTC) - SKEW
