"""`clarihook config check` and `config show`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Clarihook = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made-up-secret-for-tests"

TEXT = """\
[sources.claribi]
scheme = "claribi"
secrets = ["env:HOOK_SECRET", "made-up-literal-secret"]

[store]
keep = "30d"

[channels.ops]
urls = ["slack://made/up/tokens", "file://data/messages.jsonl"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/clarihook.toml").write_text(TEXT)
    return tmp_path


ENV = {"HOOK_SECRET": SECRET}


def test_check_sums_up_what_is_right(home: Path, clarihook: Clarihook) -> None:
    result = clarihook("config", "check", env=ENV)
    assert result.returncode == 0
    assert result.stdout.startswith(f"OK\n  home      {home}\n  sources   claribi (claribi)\n")
    warnings = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in warnings[:2]] == [
        "sources.claribi.secrets[1]",
        "channels.ops.urls[0]",
    ]
    assert "handlers does not exist" in warnings[2]


def test_check_as_json(home: Path, clarihook: Clarihook) -> None:
    good = clarihook("config", "check", "--json", env=ENV)
    bad = clarihook("config", "check", "--json")
    assert (good.returncode, bad.returncode) == (0, 2)
    assert json.loads(good.stdout)["ok"] is True
    assert len(json.loads(good.stdout)["warnings"]) == 3
    (problem,) = json.loads(bad.stdout)["problems"]
    assert problem.startswith("config/clarihook.toml:3: sources.claribi.secrets[0]: the environ")
    assert json.loads(bad.stdout)["ok"] is False


def test_check_reports_every_problem_and_ends_with_2(home: Path, clarihook: Clarihook) -> None:
    (home / "config/clarihook.toml").write_text(TEXT + "[servr]\n[[routes]]\nnotify = ['op']\n")
    result = clarihook("config", "check")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: the settings have 3 faults\n")
    assert 'config/clarihook.toml:10: servr: unknown key; did you mean "server"?' in result.stderr


def test_check_builds_the_signature_schemes(home: Path, clarihook: Clarihook) -> None:
    (home / "config/clarihook.toml").write_text(
        f'[sources.shop]\nscheme = "hmac"\nsecrets = ["{SECRET}"]\n'
        f'[sources.std]\nscheme = "standard"\nsecrets = ["whsec_!!!!!!!!!!!!!!!!!"]\n'
    )
    result = clarihook("config", "check")
    assert result.returncode == 2
    assert "config/clarihook.toml:1: sources.shop: header is not set" in result.stderr
    assert "config/clarihook.toml:4: sources.std: secret 1 " in result.stderr


def test_check_refuses_a_store_that_this_version_has_not(home: Path, clarihook: Clarihook) -> None:
    env = {**ENV, "CLARIHOOK_STORE__URL": "postgresql://db.example.com/hooks"}
    result = clarihook("config", "check", env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert "store.url: this version keeps its data in SQLite only" in result.stderr


def test_terminal_escapes_in_the_file_are_shown_not_obeyed(
    home: Path, clarihook: Clarihook
) -> None:
    (home / "config/clarihook.toml").write_text('"\\u001b[2J" = 1\n')
    result = clarihook("config", "check")
    assert "\x1b" not in result.stderr
    assert "\\x1b[2J: unknown key" in result.stderr


def test_show_gives_value_and_origin_and_hides_secrets(home: Path, clarihook: Clarihook) -> None:
    env = {**ENV, "CLARIHOOK_SERVER__PORT": "9000"}
    result = clarihook("config", "show", env=env)
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert rows[0] == f"home: {home}"
    assert "server.port 9000 CLARIHOOK_SERVER__PORT" in rows
    assert 'store.keep "30d" config/clarihook.toml:6' in rows
    assert 'store.url "sqlite:///data/clarihook.db" default' in rows
    assert (
        'sources.claribi.secrets ["env:HOOK_SECRET (set)", "**********"] config/clarihook.toml:3'
        in rows
    )
    assert (
        'channels.ops.urls ["**********", "file://data/messages.jsonl"] config/clarihook.toml:9'
        in rows
    )
    for secret in (SECRET, "literal-secret", "made/up"):
        assert secret not in result.stdout


def test_show_as_json(home: Path, clarihook: Clarihook) -> None:
    document = json.loads(clarihook("config", "show", "--json", env=ENV).stdout)
    settings = {row["key"]: row for row in document["settings"]}
    assert document["home"] == str(home)
    assert settings["dispatch.timeout"] == {
        "key": "dispatch.timeout",
        "value": "30s",
        "origin": "default",
    }
    assert settings["sources.claribi.rate"]["value"] is None
