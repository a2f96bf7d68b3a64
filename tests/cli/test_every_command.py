"""Every command, run as people run it: a process of its own, in a deployment with some history.

Its other rows run in this process, which is ten times as fast, unless they run handlers.
A command that is added gets a row here; those of `clarihook claribi` are in test_claribi.py.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from live_deployment import REPOSITORY, Deployment, eventually

from receiver.cli import COMMANDS, load_command
from receiver.samples import SAMPLE_DATA

Clarihook = Callable[..., subprocess.CompletedProcess[str]]


class Row(NamedTuple):
    """How a command is called, and what it says then."""

    arguments: str
    """After the command's name; `{event}` and the like stand for what the deployment has."""
    says: str
    status: int = 0


ROWS: dict[str, list[Row]] = {
    "init": [Row("{folder}/fresh", "is ready. Next:")],
    "demo": [Row("--once", "5 events stored, 5 handled")],
    "events send": [
        Row("report.generated --url {url} --count 3 --quiet", "3 sent in "),
        Row("report.generatd --url {url}", "did you mean report.generated?"),
        Row("a.b --url nonsense", "--url nonsense: write an http:// or https:// address", 2),
        Row("a.b --source claribbi", 'did you mean "claribi"?', 2),
    ],
    "events tail": [
        Row("--since 1h --count 1", "claribi"),
        Row("--since 1h --count 1 --source claribi", "bytes"),
        Row("--since 1h --count 1 --state dead --where event.event=='bad.b'", "bad.b"),
        Row("--where event.", "--where 'event.'", 2),
    ],
    "events forward": [Row("--to {url} --as-received --since 1h --count 1", "  200  ")],
    "events export": [Row("--type good.a", '"type": "good.a"')],
    "events import": [Row("{folder}/exported.jsonl", "were known")],
    "events list": [
        Row("--type good.a", "{event}"),
        Row("--source claribbi", 'did you mean "claribi"?'),
        Row("--type billing.credit_low", "did you mean billing.credits_low?"),
    ],
    "events show": [
        Row("{event}", "attempt 1 of 8"),
        Row("{event}", "verified by  secret 0, scheme claribi"),
    ],
    "replay run": [
        Row("{event}", "1 succeeded"),
        Row("{event} --dry-run", "nothing was done"),
        Row("{event} {spelled} --dry-run", "{event}: 1 event"),
    ],
    "replay list": [Row("", "{replay}  ")],
    "replay show": [Row("{replay}", "ended")],
    "replay watch": [Row("{replay}", "replay {replay} ended")],
    "replay pause": [Row("99", "there is no replay 99", 2)],
    "replay resume": [Row("99", "there is no replay 99", 2)],
    "replay cancel": [Row("99", "there is no replay 99", 2)],
    "deliveries list": [
        Row("--state dead", "mine.fail"),
        Row("--name opps/*", "there is no channel 'opps' in the settings; did you mean \"ops\"?"),
        Row("--name mine.kepp", "there is no handler 'mine.kepp'; did you mean 'mine.keep'?"),
    ],
    "deliveries show": [Row("{delivery}", "Reject")],
    "deliveries retry": [Row("{delivery}", "retried 1 delivery")],
    "deliveries discard": [Row("{other}", "discarded 1 delivery")],
    "acknowledge": [
        Row("{event} --by ann", "{event}: acknowledged, 0 escalations cancelled"),
        Row("evt_none", "there is no event evt_none", 2),
    ],
    "route": [
        Row("--type billing.credits_low", "routes: none in the settings"),
        Row("{event} --source claribi", "good.a"),
        Row("--cases {folder}/none.toml", "none.toml: No such file", 2),
    ],
    "channels list": [Row("", "ops/1-file")],
    "channels test": [
        Row("ops", "ops/1-file"),
        Row("opps", "did you mean", 2),
    ],
    "silence add": [
        Row("--channel ops --for 1m --comment test", "holds channel ops until"),
        Row("--channel opps --for 1m --comment test", 'did you mean "ops"?', 2),
    ],
    "silence list": [Row("--all", "messages")],
    "silence end": [Row("99", "there is no silence 99", 2)],
    "templates list": [Row("", "data_source.sync_failed")],
    "templates show": [Row("report.generated", "config/templates/report.generated.md")],
    "templates render": [
        Row("data_source.sync_failed", "Production PostgreSQL failed to sync"),
        Row("report.generated {event}", "Report ready"),
        Row("report.generate", "did you mean 'report.generated'?", 2),
    ],
    "rejections list": [
        Row("", "mismatch"),
        Row("--source claribbi", 'did you mean "claribi"?'),
    ],
    "rejections show": [Row("{rejection}", "x-claribi-signature")],
    "rejections replay": [
        Row("{rejection}", "still not proven", 1),
        Row("--source claribbi", 'did you mean "claribi"?'),
    ],
    "signature check": [Row("{rejection}", "another secret", 1)],
    "handlers list": [Row("", "mine.keep")],
    "handlers run": [
        Row("mine.tell {event}", "succeeded"),
        Row("mine.kepp {event}", "did you mean 'mine.keep'?", 2),
    ],
    "handlers new": [Row("fresh_one --type report.generated", "tests/test_fresh_one.py")],
    "db stats": [Row("", "handler or target")],
    "db check": [Row("", "sound")],
    "db backup": [Row("{folder}/copy.db", "checked")],
    "db prune": [Row("--dry-run", "would remove 0 events")],
    "db migrate": [Row("", "up to date")],
    "token create": [
        Row("ann", "clarihook_tk_"),
        Row("bob --expires soon", "'soon' is no span", 2),
    ],
    "token list": [Row("--json", '"tokens": [')],
    "token revoke": [Row("nobody", "there is no token 'nobody'", 2)],
    "doctor": [Row("", "database")],
    "config check": [Row("", "ok")],
    "config show": [Row("", "sources.claribi.scheme")],
}
SERVERS = {
    "serve": ("--port 0", "clarihook listens on"),
    "work": ("", "clarihook works on"),
    "sandbox": ("--port 0", "/api/"),
}
RUN_HANDLERS = {"replay run", "handlers run"}
OF_TEST_CLARIBI = "claribi"


@dataclass
class Story:
    """A deployment with something of everything, and what to call it."""

    deployment: Deployment
    names: dict[str, str]

    def run(self, words: str, *, here: bool) -> "subprocess.CompletedProcess[str]":
        run = self.deployment.call if here else self.deployment.run
        return run(*(word.format(**self.names) for word in words.split()))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    deployment = Deployment(folder / "home")
    (deployment.home / "config/clarihook.toml").chmod(0o600)  # it has a secret; doctor looks
    deployment.serve()
    try:
        (event,) = deployment.send("good.a")
        deployment.send("bad.b", "--count", "2")
        url = f"{deployment.origin}/hooks/claribi"
        forged = ("--url", url, "--secret", "quite another secret")
        assert deployment.call("events", "send", "a.b", *forged).returncode == 1
        exported = folder / "exported.jsonl"
        assert deployment.call("events", "export", "-o", str(exported)).returncode == 0

        def dead() -> list[Any]:
            found: list[Any] = deployment.json("deliveries", "list", "--state", "dead")[
                "deliveries"
            ]
            return found if len(found) == 2 else []

        delivery, other = (each["id"] for each in eventually(dead))
        assert deployment.run("replay", event).returncode == 0
        names = {
            "spelled": event[:-4].upper().removeprefix("EVT_"),
            "folder": str(folder), "url": url, "event": event, "delivery": delivery,
            "other": other, "replay": "1", "rejection": "1",
        }  # fmt: skip
        yield Story(deployment, names)
    finally:
        deployment.stop()


def leaves(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words)
        return
    for name, each in inner.items():
        yield from leaves(each, (*words, name))


def test_every_command_has_a_row() -> None:
    every = {words for name in COMMANDS for words in leaves(load_command(name), (name,))}
    ours = {words for words in every if words.split()[0] != OF_TEST_CLARIBI}
    assert ours == {*ROWS, *SERVERS}, "give it a row in tests/cli/test_every_command.py"


@pytest.mark.parametrize(
    ("command", "row"),
    [(command, row) for command, rows in ROWS.items() for row in rows],
    ids=lambda value: value if isinstance(value, str) else value.arguments,
)
def test_it_does_what_it_says(story: Story, command: str, row: Row) -> None:
    here = row is not ROWS[command][0] and command not in RUN_HANDLERS
    result = story.run(f"{command} {row.arguments}", here=here)
    said = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == row.status, said
    assert " ".join(row.says.format(**story.names).split()) in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", SERVERS)
def test_what_serves_starts_and_stops_in_order(tmp_path: Path, command: str) -> None:
    deployment = Deployment(tmp_path / "home")
    arguments, says = SERVERS[command]
    process = deployment.popen(command, *arguments.split())
    try:
        lines: list[str] = []
        threads = [
            threading.Thread(target=lambda s=stream: lines.extend(s), daemon=True)  # type: ignore[misc]
            for stream in (process.stdout, process.stderr)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: says in "".join(lines))
        if command == "sandbox":  # it says where it will listen a moment before it does
            (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/api/", "".join(lines))[:1]
            eventually(lambda: answers(int(port)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, "".join(lines)
        for thread in threads:
            thread.join(10)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/sandbox/", trust_env=False).is_success
    except httpx2.TransportError:
        return False


def complete(words: str, home: Path) -> list[str]:
    """What bash offers after these words; the last one is being typed."""
    result = subprocess.run(
        [sys.executable, "-m", "receiver.cli"],
        cwd=home,
        env={
            **os.environ, "PYTHONPATH": str(REPOSITORY), "_CLARIHOOK_COMPLETE": "complete_bash",
            "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout.split()


def test_a_shell_completes_commands_options_and_values(tmp_path: Path) -> None:
    home = Deployment(tmp_path / "home").home
    assert complete("clarihook re", home) == ["replay", "rejections"]
    assert {"list", "show", "tail", "forward"} <= set(complete("clarihook events ", home))
    assert "--since" in complete("clarihook events tail --", home)
    assert complete("clarihook events send billing", home) == ["billing.credits_low"]
    assert complete("clarihook events list --type ", home) == sorted(SAMPLE_DATA)
    assert complete("clarihook events list --source ", home) == ["claribi"]
    assert complete("clarihook events export --format p", home) == ["parquet"]
    assert complete("clarihook handlers run mine.t", home) == ["mine.tell"]
    # Where there is nothing to look in, nothing is offered, and nothing is said.
    assert complete("clarihook events list --source ", tmp_path) == []
    assert complete("clarihook handlers run ", tmp_path) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_completion_script_is_a_script(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "receiver.cli", "--show-completion", "bash"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "complete -o default -F _clarihook_completion clarihook" in shown.stdout
    subprocess.run(["bash", "-n"], input=shown.stdout, text=True, check=True, timeout=30)


def test_the_script_for_another_shell_is_to_be_had(clarihook: Clarihook) -> None:
    for shell, begins in (("zsh", "#compdef clarihook"), ("fish", "complete --command clarihook")):
        shown = clarihook(env={"_CLARIHOOK_COMPLETE": f"source_{shell}"})
        assert shown.stdout.lstrip().startswith(begins)
