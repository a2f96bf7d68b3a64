"""Patterns of event types, as handlers and routes write them."""

import re
from collections.abc import Callable


def compile_patterns(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A test whether a type fits any of the patterns, in which `*` is any run of characters.

    >>> fits = compile_patterns(("data_source.*", "report.generated"))
    >>> fits("data_source.sync_failed"), fits("report.deleted")
    (True, False)
    """
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    wild = [
        ".*".join(re.escape(part) for part in re.split(r"\*+", pattern))
        for pattern in patterns
        if "*" in pattern
    ]
    if not wild:
        return exact.__contains__
    fits = re.compile("|".join(wild), re.DOTALL).fullmatch
    return lambda event_type: event_type in exact or fits(event_type) is not None
