"""docs/signatures.md says what the code does, table by table."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from receiver.signatures import EXPLANATIONS, PRESETS, Preset, SchemeSpec, build_scheme
from receiver.signatures.spec import WIRES, Wire

PAGE = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()


def section(title: str) -> str:
    """The page's text under a heading of the second level."""
    return PAGE.split(f"\n## {title}")[1].split("\n## ")[0]


@pytest.mark.parametrize(("name", "preset"), PRESETS.items(), ids=str)
def test_presets_are_as_documented(name: str, preset: Preset) -> None:
    shown = f"`{preset.id_from}` " if preset.id_from else ""
    row = f"| `{name}` | `{preset.type_from}` | {shown}| `{preset.dedupe}` |"
    assert row in section("Duplicates").splitlines()


def test_reasons_are_as_documented() -> None:
    rows = [line for line in section("Why").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{reason}` | {text} |" for reason, text in EXPLANATIONS.items()]


@pytest.mark.parametrize("field", fields(Wire), ids=lambda field: field.name)
def test_options_are_as_documented(field) -> None:
    default = getattr(WIRES["hmac"], field.name)
    shown = "" if field.name == "header" else f"`{default}` " if default else '`""` '
    assert f"| `{field.name}` | {shown}|" in section("hmac")


@pytest.mark.parametrize("name", [name for name in WIRES if name != "hmac"])
def test_headers_and_content_are_as_documented(name: str) -> None:
    wire = WIRES[name]
    row = next(
        line for line in section("Schemes").splitlines() if line.startswith(f"| `{name}` | ")
    )
    assert f"`{wire.header}" in row
    assert f"| `{wire.signed}` |" in row
    assert f"in {wire.encoding}" in row


def test_examples_build() -> None:
    examples = re.findall(r"```toml\n(\[.*?)```", PAGE, re.DOTALL)
    sources = [source for text in examples for source in tomllib.loads(text)["sources"].values()]
    assert len(sources) == 4
    for source in sources:
        options = source.keys() & ({field.name for field in fields(Wire)} | {"scheme"})
        spec = SchemeSpec(**{option: source[option] for option in options})
        assert build_scheme(spec, ["made-up-secret-of-the-docs"]).headers
