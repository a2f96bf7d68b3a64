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


def test_check_sums_up_what_is_right(home: Path, clarihook_here: Clarihook) -> None:
    result = clarihook_here("config", "check", env=ENV)
    assert result.returncode == 0
    assert result.stdout.startswith(f"OK\n  home      {home}\n  sources   claribi (claribi)\n")
    warnings = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in warnings[:2]] == [
        "sources.claribi.secrets[1]",
        "channels.ops.urls[0]",
    ]
    assert "handlers does not exist" in warnings[2]


def test_check_as_json(home: Path, clarihook_here: Clarihook) -> None:
    good = clarihook_here("config", "check", "--json", env=ENV)
    bad = clarihook_here("config", "check", "--json")
    assert (good.returncode, bad.returncode) == (0, 2)
    assert json.loads(good.stdout)["ok"] is True
    assert len(json.loads(good.stdout)["warnings"]) == 4
    (problem,) = json.loads(bad.stdout)["problems"]
    assert problem.startswith("config/clarihook.toml:3: sources.claribi.secrets[0]: the environ")
    assert json.loads(bad.stdout)["ok"] is False


def test_check_reports_every_problem_and_ends_with_2(home: Path, clarihook_here: Clarihook) -> None:
    (home / "config/clarihook.toml").write_text(TEXT + "[servr]\n[[routes]]\nnotify = ['op']\n")
    result = clarihook_here("config", "check")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: the settings have 3 faults\n")
    assert 'config/clarihook.toml:10: servr: unknown key; did you mean "server"?' in result.stderr


def test_check_builds_the_signature_schemes(home: Path, clarihook_here: Clarihook) -> None:
    (home / "config/clarihook.toml").write_text(
        f'[sources.shop]\nscheme = "hmac"\nsecrets = ["{SECRET}"]\n'
        f'[sources.std]\nscheme = "standard"\nsecrets = ["whsec_!!!!!!!!!!!!!!!!!"]\n'
    )
    result = clarihook_here("config", "check")
    assert result.returncode == 2
    assert "config/clarihook.toml:1: sources.shop: header is not set" in result.stderr
    assert "config/clarihook.toml:4: sources.std: secret 1 " in result.stderr


def test_check_refuses_a_store_that_this_version_has_not(
    home: Path, clarihook_here: Clarihook
) -> None:
    env = {**ENV, "CLARIHOOK_STORE__URL": "postgresql://db.example.com/hooks"}
    result = clarihook_here("config", "check", env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert "store.url: this version keeps its data in SQLite only" in result.stderr


def test_terminal_escapes_in_the_file_are_shown_not_obeyed(
    home: Path, clarihook_here: Clarihook
) -> None:
    (home / "config/clarihook.toml").write_text('"\\u001b[2J" = 1\n')
    result = clarihook_here("config", "check")
    assert "\x1b" not in result.stderr
    assert "\\x1b[2J: unknown key" in result.stderr


def test_show_gives_value_and_origin_and_hides_secrets(
    home: Path, clarihook_here: Clarihook
) -> None:
    env = {**ENV, "CLARIHOOK_SERVER__PORT": "9000"}
    result = clarihook_here("config", "show", env=env)
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


def test_show_as_json(home: Path, clarihook_here: Clarihook) -> None:
    document = json.loads(clarihook_here("config", "show", "--json", env=ENV).stdout)
    settings = {row["key"]: row for row in document["settings"]}
    assert document["home"] == str(home)
    assert settings["dispatch.timeout"] == {
        "key": "dispatch.timeout",
        "value": "30s",
        "origin": "default",
    }
    assert settings["sources.claribi.rate"]["value"] is None


FINDINGS = """\
[sources.claribi]
scheme = "claribi"
secrets = ["env:HOOK_SECRET"]

[channels.ops]
urls = ["file://data/messages.jsonl"]

[channels.spare]
urls = ["file://data/spare.jsonl"]
[channels.later]
urls = ["file://data/later.jsonl"]

[[routes]]
name = "all"
match = "billing.*"
notify = ["ops"]
continue = false
escalate = [{ after = "15m", notify = ["later"] }]

[[routes]]
match = "billing.credits_low"
when = "event.data.remainingg < 10"
notify = ["ops"]

[[routes]]
match = "biling.*"
notify = ["ops"]

[[routes]]
match = "report.generated"
when = "event.data.name == 'x' && event.data.sise > 3"
notify = ["ops"]

[[routes]]
match = "report.generated"
when = "event.data.name == 'x' && event.data.sise > 3"
notify = ["ops"]
"""
SPEAKS = """\
from receiver import on

WHERE = "opps"


@on("report.generated")
async def tell(event: dict, ctx) -> None:
    ctx.notify(WHERE, title="a", body="b")
"""


@pytest.fixture
def findings(home: Path) -> Path:
    (home / "config/clarihook.toml").write_text(FINDINGS)
    (home / "handlers").mkdir()
    (home / "handlers" / "mine.py").write_text(SPEAKS)
    return home


def test_what_is_hardly_meant_is_a_warning_with_its_line(
    findings: Path, clarihook_here: Clarihook
) -> None:
    result = clarihook_here("config", "check", env=ENV)
    assert result.returncode == 0
    file = "warning: config/clarihook.toml"
    expected = [
        f"{file}:20: routes[1]: is never reached: route all takes all that it would",
        f"{file}:22: routes[1].when: no such event has event.data.remainingg; did you mean remain",
        f'{file}:26: routes[2].match: fits no event type that is known; did you mean "billing.*"?',
        f"{file}:31: routes[3].when: no such event has event.data.sise; known: credits_used",
        f"{file}:34: routes[4]: is the same as route 4; remove one of them",
        f"{file}:36: routes[4].when: no such event has event.data.sise; known: credits_used",
        'mine.py:8 speaks to "opps", and there is no such channel; did you mean "ops"?',
        f"{file}:8: channels.spare: no route and no handler speaks to it",
    ]
    lines = result.stderr.splitlines()
    assert len(lines) == len(expected)
    for line, text in zip(lines, expected, strict=True):
        assert text in line
    strict = clarihook_here("config", "check", "--strict", "--json", env=ENV)
    assert strict.returncode == 2
    assert len(json.loads(strict.stdout)["problems"]) == len(expected)
    assert len(json.loads(strict.stdout)["warnings"]) == len(expected)


def test_what_cannot_run_is_an_error_and_all_of_it_is_told(
    findings: Path, clarihook_here: Clarihook
) -> None:
    (findings / "config/clarihook.toml").write_text(
        FINDINGS.split("[[routes]]", maxsplit=1)[0]
        + '[channels.many]\nurls = ["slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#a/#b"]\n'
        '[handlers]\ndisabled = ["mine.tel"]\n'
        '[[routes]]\nforward = "https://example.com"\nforward_secret = "whsec_not/base64!!"\n'
    )
    result = clarihook_here("config", "check", env=ENV)
    assert result.returncode == 2
    for text in (
        "config/clarihook.toml:14: channels.many, URL 1: ",
        "config/clarihook.toml:16: handlers: disabled: there is no handler 'mine.tel'; did you",
        "config/clarihook.toml:19: routes[0].forward_secret: secret 1 is not base64",
    ):
        assert text in result.stderr
    (findings / "handlers" / "mine.py").write_text("import nothing_like_it\n")
    assert "mine.py" in clarihook_here("config", "check", env=ENV).stderr


def test_every_missing_variable_is_told_at_once(home: Path, clarihook_here: Clarihook) -> None:
    (home / "config/clarihook.toml").write_text(
        '[sources.a]\nscheme = "claribi"\nsecrets = ["env:ONE", "env:TWO"]\n'
        '[channels.ops]\nurls = ["env:THREE"]\n'
        '[[routes]]\nforward = "env:FOUR"\nforward_secret = "env:FIVE"\n'
    )
    said = clarihook_here("config", "check").stderr
    for name in ("ONE", "TWO", "THREE", "FOUR", "FIVE"):
        assert f"the environment variable {name} is not set" in said


def test_a_condition_that_is_none_is_told_with_its_column(
    home: Path, clarihook_here: Clarihook
) -> None:
    (home / "config/clarihook.toml").write_text(
        TEXT + '[[routes]]\nnotify = ["ops"]\nwhen = "event.data.a < && 3"\n'
    )
    said = clarihook_here("config", "check", env=ENV).stderr
    assert "config/clarihook.toml:12: routes[0].when: is no CEL expression: column 16: " in said
