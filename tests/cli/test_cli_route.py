"""`clarihook route`: what each target gets and what holds it; and the file of cases."""

import json
from pathlib import Path

import pytest
from live_deployment import CONFIG, REPOSITORY, Deployment

from receiver.cli.cases import read_cases

ROUTED = """
[channels.night]
urls = ["file://data/night.jsonl", "mailto://me:secretword@127.0.0.1:9/?to=you@example.com&from=me@example.com"]
fallback = "ops"
quiet_hours = {from = "22:00", until = "07:00", timezone = "Europe/Berlin", unless = "critical"}

[[routes]]
name = "failed"
match = "*.sync_failed"
notify = ["night"]
severity = "warning"
title = "{{ event.data.data_source_name }} failed"

[[routes]]
match = "billing.*"
when = "event.data.remaining < 100"
notify = ["ops"]
severity = "critical"
"""
NIGHT = "2026-11-23T03:00:00Z"

CASES = f"""
[[cases]]
name = "at night it waits"
type = "data_source.sync_failed"
at = {NIGHT}
sent = []
held = ["night"]
not_sent = ["ops"]
title = "Production PostgreSQL failed"

[[cases]]
name = "by day it goes out"
type = "data_source.sync_failed"
at = 2026-11-23T12:00:00Z
sent = ["night/1-file", "night/2-mailto"]

[[cases]]
name = "plenty of credits"
type = "billing.credits_low"
data = {{ remaining = 500 }}
sent = []
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    deployment = Deployment(tmp_path / "home")
    (deployment.home / "config/clarihook.toml").write_text(CONFIG + ROUTED)
    (deployment.home / "config/cases.toml").write_text(CASES)
    return deployment


def test_each_target_is_shown_with_its_text_and_what_holds_it(deployment: Deployment) -> None:
    """With no database: nothing was ever stored here."""
    night = ("route", "--type", "data_source.sync_failed", "--at", NIGHT)
    text = deployment.run(*night).stdout
    assert "held until 2026-11-23T06:00:00.000Z: quiet hours until Mon 07:00 Europe/Berlin" in text
    assert "if a target is dead for it: to ops" in text
    assert 'route 2: billing.* when event.data.remaining < 100: no, its match "billing.*"' in text
    assert "secretword" not in text
    document = deployment.json(*night)
    (message,) = document["routes"][0]["messages"]
    assert [each["target"] for each in message["targets"]] == ["night/1-file", "night/2-mailto"]
    assert {each["held"]["kind"] for each in message["targets"]} == {"quiet"}
    assert {each["title"] for each in message["targets"]} == {"Production PostgreSQL failed"}
    by_day = deployment.json("route", "--type", "data_source.sync_failed", "--at", "2026-11-23T12Z")
    (message,) = by_day["routes"][0]["messages"]
    assert [each["held"] for each in message["targets"]] == [None, None]
    assert not (deployment.home / "data").exists(), "nothing is stored"


def test_a_silence_is_seen(deployment: Deployment) -> None:
    assert deployment.call("db", "migrate").returncode == 0
    added = deployment.call("silence", "add", "--channel", "ops", "--for", "1h", "--comment", "x")
    assert added.returncode == 0, added.stderr
    document = deployment.json("route", "--type", "billing.credits_low")
    (message,) = document["routes"][1]["messages"]
    assert message["targets"][0]["held"]["kind"] == "silence"


def test_cases_are_checked(deployment: Deployment) -> None:
    result = deployment.run("route", "--cases")
    assert (result.returncode, result.stdout) == (0, "3 of 3 cases passed\n"), result.stderr
    document = deployment.json("route", "--cases")
    assert (document["failed"], len(document["cases"])) == (0, 3)


def test_a_failed_case_says_what_was_expected_and_which_routes_spoke(
    deployment: Deployment,
) -> None:
    file = deployment.home / "config/cases.toml"
    file.write_text(file.read_text().replace("remaining = 500", "remaining = 5"))
    result = deployment.run("route", "--cases", "config/cases.toml")
    assert result.returncode == 1
    assert "config/cases.toml:17: plenty of credits" in result.stdout
    assert "sent: expected nothing; got ops/1-file" in result.stdout
    assert "route 2: billing.* when event.data.remaining < 100: yes" in result.stdout
    assert "2 of 3 cases passed" in result.stdout
    document = deployment.json("route", "--cases", str(file))
    (failed,) = [case for case in document["cases"] if not case["passed"]]
    assert (failed["line"], failed["sent"]) == (17, ["ops/1-file"])
    assert [row["number"] for row in failed["routes"]] == [2]


ONE = '[[cases]]\nname = "a"\ntype = "a.b"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[cases", "Expected ']]'"),
        ("", "cases.toml:1: there is no [[cases]] in it"),
        (ONE, "cases.toml:1: expects nothing"),
        (f'{ONE}sent = []\nsnt = ["ops"]\n', 'cases.toml:5: snt: is no key of a case'),
        (f'{ONE}sent = ["opps"]\n', "cases.toml:4: sent: there is no channel or target 'opps'"),
        (f'{ONE}sent = []\nsource = "claribbi"\n', "cases.toml:5: source: there is no source"),
        (f'{ONE}sent = []\nat = 2026-11-23T03:00:00\n', "cases.toml:5: at: needs an offset"),
        (f'{ONE}sent = []\nfile = "x.json"\n', "cases.toml:1: say which event: one of"),
        ('[[cases]]\nname = "a"\nfile = "x.json"\nsent = []\n', "cases.toml:3: file: x.json: No"),
        ('[[cases]]\nname = "a"\nevent = "evt_1"\nsent = []\n', "cases.toml:3: event: "),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_line(deployment: Deployment, text: str, says: str) -> None:
    (deployment.home / "config/cases.toml").write_text(text)
    result = deployment.call("route", "--cases")
    assert result.returncode == 2, result.stdout
    assert says in " ".join(result.stderr.split())


def test_a_stored_event_and_a_file_are_cases_too(deployment: Deployment) -> None:
    body = json.dumps({"event": "billing.low", "data": {"remaining": 1}})
    (deployment.home / "config/low.json").write_text(body)
    text = '[[cases]]\nname = "a"\nfile = "low.json"\nsent = ["ops"]\nbody = "remaining: 1"\n'
    (deployment.home / "config/cases.toml").write_text(text)
    assert deployment.call("route", "--cases").returncode == 0


def test_the_shipped_cases_pass_for_what_init_writes(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "unused")
    home = tmp_path / "fresh"
    assert deployment.run("init", str(home)).returncode == 0
    assert (home / "config/cases.toml").exists()
    result = deployment.run("route", "--cases", "--home", str(home))
    assert (result.returncode, result.stderr) == (0, "")
    assert len(read_cases(REPOSITORY / "config/cases.toml").cases) == 1


def test_an_escalation_is_shown_as_it_would_arrive(deployment: Deployment) -> None:
    """With its own channel, its note before the title, and where the link would stand."""
    (deployment.home / "config/clarihook.toml").write_text(
        '[server]\npublic_url = "https://hooks.example.com"\n' + CONFIG
        + '[channels.boss]\nurls = ["file://data/boss.jsonl"]\n'
        '[[routes]]\nmatch = "a.*"\nnotify = "ops"\ntitle = "It failed"\n'
        'escalate = [{ after = "15m", notify = "boss" }]\n'
    )  # fmt: skip
    lines = deployment.run("route", "--type", "a.b").stdout.splitlines()
    ops = lines.index("  ops (ops/1-file), info, text:")
    boss = lines.index("  boss (boss/1-file), info, text:")
    assert lines[ops + 1] == "    It failed"
    assert "    Not acknowledged for 15m: It failed" in lines[boss:]
    link = "    I take care of it: https://hooks.example.com/acknowledge/…"
    assert lines.count(link) == 2


def test_a_target_that_can_not_be_sent_to_is_not_shown_as_sent(deployment: Deployment) -> None:
    """A real message to it would be dead at once; so says `config check`, too."""
    (deployment.home / "config/clarihook.toml").write_text(
        CONFIG + '[channels.chat]\nurls = ["rocket://127.0.0.1/room"]\n'
        '[[routes]]\nmatch = "*"\nnotify = "chat"\n'
    )
    for arguments in (("route", "--type", "a.b"), ("route", "--cases")):
        (deployment.home / "config/cases.toml").write_text(
            '[[cases]]\nname = "x"\ntype = "a.b"\nsent = ["chat"]\n'
        )
        result = deployment.call(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert "channels.chat, URL 1: not a valid rocket:// URL" in result.stderr
