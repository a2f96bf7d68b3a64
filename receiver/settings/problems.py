"""What is wrong with settings, in words a person can act on."""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

KeyPath = tuple[str | int, ...]
"""`("channels", "ops", "urls", 1)`: names of tables and keys, and numbers in lists from 0."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: the key at fault, and what is wrong with it and what to do."""

    path: KeyPath
    text: str


class Origins(dict[KeyPath, str]):
    """Where each key was given: `FILE:LINE`, a variable's name or a flag's; defaults are absent."""

    def place(self, path: KeyPath) -> str | None:
        """Where to look for a fault at `path`: there, or at the nearest table or list around it."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self:
                return self[path[:depth]]
        return None


def dotted(path: KeyPath) -> str:
    """`channels.ops.urls[1]`: the key as people write it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most looks like, if any does."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def name_hint(name: str, known: Iterable[str]) -> str:
    """`did you mean "scheme"?`, or the list of what there is."""
    names = sorted(known)
    match = nearest(name, names)
    if match is not None:
        return f'did you mean "{match}"?'
    return f"known: {', '.join(names)}" if names else "there is none"


def from_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's faults as problems, in its order."""
    return [_problem(dict(fault), model) for fault in error.errors(include_input=False)]


def _problem(fault: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    path: KeyPath = tuple(fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            known = known_keys(model, path[:-1])
            return Problem(path, f"unknown key; {name_hint(str(path[-1]), known)}")
        case "missing":
            return Problem(path, "is missing; set it")
        case "string_pattern_mismatch" if path[-1] == "[key]":
            text = "is no name; use a-z, 0-9, - and _, at most 64, a letter or digit first"
            return Problem(path[:-1], text)
        case "too_short" | "string_too_short":
            return Problem(path, "must not be empty; set it")
        case kind if kind in _KINDS:
            return Problem(path, f"must be {_KINDS[kind]}")
        case _:
            message = fault["msg"].removeprefix("Value error, ")
            return Problem(path, message.replace("Input should be ", "must be "))


_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_type": "a string",
    "tuple_type": "a list",
}
"""What pydantic missed, in the words of a TOML file."""


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the table at `path` may have."""
    annotation: Any = model
    for part in path:
        annotation = _step(_plain(annotation), part)
    annotation = _plain(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [
            field.alias or name for name, field in annotation.model_fields.items() if name != "home"
        ]
    return []


def _step(annotation: Any, part: str | int) -> Any:
    """The type of what is under `part` in a value of the type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _plain(annotation: Any) -> Any:
    """The type without `Annotated` and without `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return _plain(next(a for a in get_args(annotation) if a is not type(None)))
    return annotation
