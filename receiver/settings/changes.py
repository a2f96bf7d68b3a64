"""What is different between two states of the settings: by key, never by value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from receiver.settings.model import Settings
from receiver.settings.problems import KeyPath, dotted

NEEDS_RESTART: Final = frozenset(
    {
        "console.host",
        "console.port",
        "dispatch.enabled",
        "dispatch.lease",
        "dispatch.threads",
        "log.format",
        "rejections.max_count",
        "server.drain_timeout",
        "server.host",
        "server.port",
        "server.read_timeout",
        "server.reload",
        "server.workers",
        "store.min_free_bytes",
        "store.url",
    }
)
"""Keys that stay as they were at the start of the process; all others can change while it runs."""


def changed_keys(before: Settings, after: Settings) -> tuple[str, ...]:
    """The keys whose values differ, dotted, in the order of the settings.

    A list of tables of another length counts as one: `routes`.
    """
    return tuple(dict.fromkeys(dotted(path) for path in _differences(before, after, ())))


def as_overrides(settings: Settings, keys: Sequence[str]) -> dict[str, Any]:
    """The values of some `section.key`s in the form that `load_settings` takes."""
    values = {}
    for key in keys:
        section, _, name = key.partition(".")
        values[key] = getattr(getattr(settings, section), name)
    return values


def _differences(before: Any, after: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(before, BaseModel) and type(before) is type(after):
        for name, field in type(before).model_fields.items():
            shown = field.alias or name
            yield from _differences(getattr(before, name), getattr(after, name), (*path, shown))
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _differences(before.get(name), after.get(name), (*path, name))
    elif _are_tables(before) and _are_tables(after) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, (*path, index))
    elif before != after:
        yield path


def _are_tables(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, BaseModel) for each in value)
