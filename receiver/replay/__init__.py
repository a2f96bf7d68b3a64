"""Replay: stored events go through the handlers again, as new deliveries behind live ones."""

from receiver.replay.caretaker import take_over_abandoned
from receiver.replay.moving import cancel, find, pause, reopen
from receiver.replay.progress import Progress, Status
from receiver.replay.repeating import FindTarget, PlanEvent, Repeater
from receiver.replay.replayer import Replayer, count_candidates, watch
from receiver.replay.scanning import Scanner, Where
from receiver.replay.selection import Rest, Selection

__all__ = [
    "FindTarget",
    "PlanEvent",
    "Progress",
    "Repeater",
    "Replayer",
    "Rest",
    "Scanner",
    "Selection",
    "Status",
    "Where",
    "cancel",
    "count_candidates",
    "find",
    "pause",
    "reopen",
    "take_over_abandoned",
    "watch",
]
