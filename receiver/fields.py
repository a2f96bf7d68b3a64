"""Fields of a JSON value, by the dotted path that settings and handlers name them with."""

import hashlib
import json
from typing import Any

_LONGEST_INDEX = 9


def field_at(value: Any, path: str) -> Any:
    """What stands at the path; None if nothing does.

    >>> field_at({"data": {"items": [{"id": 7}]}}, "data.items.0.id")
    7
    """
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and len(step) <= _LONGEST_INDEX:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def text_of(value: Any, *, longest: int) -> str | None:
    """A text, number or boolean as a text that tells it from others; None for anything else.

    One that is longer than `longest` characters, or can't be printed, is replaced by its SHA-256.

    >>> text_of(7, longest=100), text_of([7], longest=100)
    ('7', None)
    """
    if not isinstance(value, str):
        return json.dumps(value) if isinstance(value, int | float) else None
    if len(value) <= longest and value.isprintable():
        return value
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
