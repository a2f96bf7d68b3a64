"""Ids that sort by time: of events, and the numbers of events and deliveries.

An event's id is `evt_`, 12 hex digits of the time in milliseconds, and 20 of chance: a range of
time is a range of ids, and 80 random bits keep apart what arrives in one millisecond, on however
many machines.
"""

import random
import time

from receiver.model import EventId

# Not the system's randomness on each call: ids are no secrets, and a system call per event
# hands the interpreter lock to the writer thread and back.
_random_bits = random.Random(random.SystemRandom().getrandbits(256)).getrandbits  # noqa: S311

FIRST = "evt_"
"""Smaller than any id."""
LAST = "evt_g"
"""Larger than any id."""


def new_event_id(now_ms: int) -> EventId:
    """A fresh id for an event received at `now_ms`.

    >>> new_event_id(1_752_566_400_000)[:16]
    'evt_01980d190400'
    """
    return EventId(f"evt_{now_ms:012x}{_random_bits(80):020x}")


def first_id_at(now_ms: int) -> str:
    """Not larger than any id of that millisecond, larger than all before it.

    >>> first_id_at(1_752_566_400_000)
    'evt_01980d190400'
    """
    return f"evt_{max(0, now_ms):012x}"


_EPOCH_MS = 1_577_836_800_000  # 2020-01-01: 41 bits of milliseconds from then last until 2089
_WORKER_BITS = 10
_COUNT_BITS = 12
WORKERS_APART = 1 << _WORKER_BITS
"""Workers whose ids are equal modulo this one could give the same number."""


def first_number_at(now_ms: int) -> int:
    """Not larger than any number given at that moment or later, larger than all before it."""
    return max(0, now_ms - _EPOCH_MS) << (_WORKER_BITS + _COUNT_BITS)


class Numbers:
    """Gives numbers that no other worker of the database gives, each larger than the last.

    41 bits of time, 10 of the worker's id, 12 of a count: whoever records an event knows its
    number before the database does, and numbers of several workers sort by time. For one
    thread: of a worker's two, the loop's are `even`, the writer thread's are odd.
    """

    def __init__(self, worker: int, *, even: bool = True, after: int = 0) -> None:
        """`after`: any that was given before; the clock may have been put back since."""
        self._first = ((worker % WORKERS_APART) << _COUNT_BITS) | (0 if even else 1)
        next_ms = (after >> (_WORKER_BITS + _COUNT_BITS)) + 1
        self._last = (next_ms << (_WORKER_BITS + _COUNT_BITS)) | self._first

    def next(self) -> int:
        """The next number."""
        now = (int(time.time() * 1000) - _EPOCH_MS) << (_WORKER_BITS + _COUNT_BITS)
        number = now | self._first
        if number <= self._last:  # the same millisecond, or the clock went back
            number = self._last + 2
            if number & ((1 << _COUNT_BITS) - 1) < 2:  # the count is used up: borrow the next ms
                whole_ms = (self._last >> (_WORKER_BITS + _COUNT_BITS)) + 1
                number = (whole_ms << (_WORKER_BITS + _COUNT_BITS)) | self._first
        self._last = number
        return number
