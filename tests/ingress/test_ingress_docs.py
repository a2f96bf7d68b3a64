"""docs/ingress.md says what is so."""

import re
import tomllib
from pathlib import Path

from receiver.connections import MAX_CONNECTIONS, MAX_HEAD_BYTES
from receiver.payload import MAX_DEPTH, MAX_TYPE_LENGTH
from receiver.settings import Settings
from receiver.settings.model import ServerSettings, StoreSettings
from receiver.signatures import PRESETS
from receiver.sources import build_sources

PAGE = (Path(__file__).parents[2] / "docs" / "ingress.md").read_text("utf-8")
ANSWERED = Path(__file__).with_name("test_ingress_answers.py").read_text("utf-8")


def test_the_examples_are_settings_that_work_and_show_every_scheme(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    secret = tmp_path / "slack"
    secret.write_text("made-up-secret-for-tests-000001")
    data = tomllib.loads(block.replace("/run/secrets/slack", str(secret)))
    names = re.findall(r"env:(\w+)", block)
    environ = dict.fromkeys(names, "bWFkZS11cC1zZWNyZXQtZm9yLXRlc3RzLTAx")
    settings = Settings.from_dict(data, home=tmp_path, environ=environ)
    assert build_sources(settings).keys() == data["sources"].keys()
    assert {source.scheme for source in settings.sources.values()} == PRESETS.keys()


def test_every_status_of_the_table_is_tested() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (?:`(\w+)`)?", PAGE, re.MULTILINE)
    assert len(rows) == 14
    for status, code in rows:
        if status not in ("431", "200", "202"):  # test_ingress_protocol.py has that one
            assert f'{status}, "{code}")' in ANSWERED, status


def test_the_limits_are_these() -> None:
    assert f"at most {MAX_DEPTH} levels" in PAGE
    assert f"1 to {MAX_TYPE_LENGTH} printable" in PAGE
    assert f"| {MAX_CONNECTIONS}, or" in PAGE
    assert f"| {MAX_HEAD_BYTES // 1024} KiB beyond" in PAGE
    assert ServerSettings().max_body_bytes == 1 << 20
    assert ServerSettings().read_timeout.total_seconds() == 10
    assert f"{StoreSettings().max_backlog:,}" in PAGE
