"""docs/configuration.md says of every setting what the model says."""

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from receiver.settings import Settings
from receiver.settings.model import Section

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
PLACEHOLDERS = {"sources": "NAME", "channels": "NAME", "routes": ""}


def settings_of(model: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section], str]]:
    """Every setting as (`server.port`, its model, its field's name)."""
    for name, field in model.model_fields.items():
        inner = [field.annotation, *typing.get_args(field.annotation)]
        section = next((t for t in inner if isinstance(t, type) and issubclass(t, Section)), None)
        if section is not None:
            parts = [part for part in (prefix + name, PLACEHOLDERS.get(name, "")) if part]
            yield from settings_of(section, ".".join(parts) + ".")
        elif name != "home":
            yield prefix + (field.alias or name), model, name


def shown_default(model: type[Section], name: str) -> str:
    field: FieldInfo = model.model_fields[name]
    if field.is_required():
        return "required"
    value: Any = field.get_default()
    assert value is not PydanticUndefined
    key = field.alias or name
    plain = model.model_construct(**{key: value}).model_dump(mode="json", include={name})[key]
    if name == "url":
        plain = value.get_secret_value()
    return "unset" if plain is None else f"`{json.dumps(plain)}`"


def row(key: str, model: type[Section], name: str) -> str:
    """The line of the page's table for a setting."""
    description = " ".join((model.model_fields[name].description or "").split())
    return f"| `{key}` | {shown_default(model, name)} | {description} |"


@pytest.mark.parametrize(("key", "model", "name"), list(settings_of(Settings)))
def test_page_has_every_setting_with_its_default_and_meaning(
    key: str, model: type[Section], name: str
) -> None:
    assert row(key, model, name) in PAGE.read_text().splitlines()


def test_page_names_no_setting_that_does_not_exist() -> None:
    known = {key for key, _, _ in settings_of(Settings)}
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert {line.split("`")[1] for line in rows} == known
