"""From a body's bytes to JSON values, strictly: what two parsers could read differently is refused.

Pure functions, total: any bytes give a value or a `PayloadError`.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from receiver.errors import PayloadError
from receiver.model import INTERNAL_PREFIX

MAX_DEPTH = 64
MAX_TYPE_LENGTH = 255

_AFTER_NAME = re.compile(rb'"[ \t\r\n]*:')


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises PayloadError for what is not UTF-8, not JSON (RFC 8259: no NaN, no Infinity), not an
    object, nested deeper than 64, or has an object with a name twice in it; and for an integer
    of more than 4300 digits, which Python itself refuses to read.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise PayloadError(f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise PayloadError("the body is not a JSON object")
    # Two parsers may pick different ones of two equal names, so that what was checked here would
    # not be what is acted upon elsewhere. The parser keeps one of them, so there is one less than
    # in the text. Strings can look like names, but only the other way round: then look closely.
    if _count_names(value, MAX_DEPTH) != len(_AFTER_NAME.findall(body)):
        _check_names(body)
    return value


def _count_names(value: dict[str, Any] | list[Any], depth: int) -> int:
    """How many names its objects have in all. Raises PayloadError if it is deeper than `depth`."""
    if depth == 0:
        raise PayloadError(f"the body is nested deeper than {MAX_DEPTH} levels")
    is_object = value.__class__ is dict
    count = len(value) if is_object else 0
    for child in value.values() if is_object else value:  # type: ignore[union-attr]
        if child.__class__ is dict or child.__class__ is list:
            count += _count_names(child, depth - 1)
    return count


def _check_names(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise PayloadError("an object in the body has the same name twice")
        return made

    try:
        json.loads(body, object_pairs_hook=unique)
    except ValueError as error:  # PYTHONINTMAXSTRDIGITS may forbid what the fast parser allows
        raise PayloadError(f"the body is not valid JSON: {error}") from None


def pointer_reader(pointer: str) -> Callable[[Any], Any]:
    """A function that reads a JSON pointer (RFC 6901) from a value; None where nothing is.

    >>> pointer_reader("/data/id")({"data": {"id": 7}})
    7
    """
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    if len(steps) == 1:
        (name,) = steps
        return lambda value: value.get(name)  # the body is an object: parse_object saw to it

    def read(value: Any) -> Any:
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return read


def check_type(value: Any, place: str) -> str:
    """An event type as it was found at `place`; raises PayloadError if it can't be one."""
    if not isinstance(value, str) or not value:
        raise PayloadError(f"there is no event type: {place} has to be a string")
    if len(value) > MAX_TYPE_LENGTH:
        raise PayloadError(f"the event type is longer than {MAX_TYPE_LENGTH} characters")
    if not value.isprintable():
        raise PayloadError("the event type has characters that can't be printed")
    if value.startswith(INTERNAL_PREFIX):
        raise PayloadError(f"event types that begin with {INTERNAL_PREFIX} are clarihook's own")
    return value
