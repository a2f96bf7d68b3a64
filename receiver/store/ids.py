"""Event ids: `evt_`, 12 hex digits of the time in milliseconds, 20 of chance.

They sort by time of arrival, so a range of time is a range of ids; 80 random bits keep apart
what arrives in one millisecond, on however many machines.
"""

import os

from receiver.model import EventId

FIRST = "evt_"
"""Smaller than any id."""
LAST = "evt_g"
"""Larger than any id."""


def new_event_id(now_ms: int) -> EventId:
    """A fresh id for an event received at `now_ms`.

    >>> new_event_id(1_752_566_400_000)[:16]
    'evt_01980d06a800'
    """
    return EventId(f"evt_{now_ms:012x}{os.urandom(10).hex()}")


def first_id_at(now_ms: int) -> str:
    """Not larger than any id of that millisecond, larger than all before it.

    >>> first_id_at(1_752_566_400_000)
    'evt_01980d06a800'
    """
    return f"evt_{max(0, now_ms):012x}"
