"""Replay: stored events go through the handlers again, as new deliveries behind live ones."""

from receiver.replay.progress import Progress, Status
from receiver.replay.replayer import (
    PlanEvent,
    Replayer,
    cancel,
    count,
    find,
    pause,
    reopen,
)
from receiver.replay.selection import Rest, Selection

__all__ = [
    "PlanEvent",
    "Progress",
    "Replayer",
    "Rest",
    "Selection",
    "Status",
    "cancel",
    "count",
    "find",
    "pause",
    "reopen",
]
