"""Channels become named targets; faults are named by place and never show a URL."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from notify_endpoints import Web, say

from receiver.errors import ConfigError
from receiver.model import Outcome
from receiver.notify import ChannelSpec, Notifier, channel_spec
from receiver.retry import RetryPolicy
from receiver.settings import ChannelSettings

SLACK = "slack://TAAAAAAAA/BBBBBBBBB/plantedsecrettoken000000"


def notifier(home: Path, *urls: str, **settings: object) -> Notifier:
    return Notifier({"ops": ChannelSpec(urls=urls, **settings)}, home=home)  # type: ignore[arg-type]


def test_targets_are_named_by_channel_position_and_service(tmp_path: Path) -> None:
    made = Notifier(
        {
            "ops": ChannelSpec(urls=("SLACK://A/B/C", "mailto://u:p@example.com")),
            "audit": ChannelSpec(urls=("file://data/audit.jsonl",), retry=RetryPolicy(attempts=3)),
        },
        home=tmp_path,
    )
    assert made.channels == {"ops": ("ops/1-slack", "ops/2-mailto"), "audit": ("audit/1-file",)}
    assert made.targets("ops") == ("ops/1-slack", "ops/2-mailto")
    assert [made.get(name).name for name in made.targets("ops")] == ["ops/1-slack", "ops/2-mailto"]
    assert made.retry_policy("audit/1-file").attempts == 3
    with pytest.raises(KeyError):
        made.get("ops/1-mailto")
    with pytest.raises(KeyError):
        made.targets("nobody")


def test_settings_are_taken_over(tmp_path: Path) -> None:
    channel = ChannelSettings.model_validate(
        {
            "urls": ["file://out.jsonl"],
            "rate": "30/m burst 5",
            "concurrency": 3,
            "timeout": "7s",
            "attempts": 4,
            "schedule": ["5s", "1m"],
        }
    )
    made = Notifier.from_settings({"ops": channel}, home=tmp_path)
    assert made.retry_policy("ops/1-file") == RetryPolicy(attempts=4, waits=(5.0, 60.0))
    assert channel_spec(channel) == ChannelSpec(
        urls=("file://out.jsonl",),
        rate="30/m burst 5",
        concurrency=3,
        timeout_seconds=7.0,
        retry=RetryPolicy(attempts=4, waits=(5.0, 60.0)),
    )


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Notifier(
            {
                "empty": ChannelSpec(urls=()),
                "bad": ChannelSpec(urls=("planted-secret", "file:///planted-secret/x")),
                "fast": ChannelSpec(urls=(SLACK,), rate="very"),
            },
            home=tmp_path,
        )
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "channels.empty",
        "channels.bad, URL 1",
        "channels.bad, URL 2",
        "channels.fast, URL 1",
    ]
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("slak://planted-secret/x", 'unknown service "slak://"; did you mean slack://?'),
        ("xyzzyxyzzy://planted-secret/x", 'unknown service "xyzzyxyzzy://"'),
        ("slack://planted-secret", "URL: An invalid Slack (first) Token (***) was specified."),
        ("json://h/?method=planted", "specified (***) is invalid."),
        ("twilio://AB:planted@1", "URL: An invalid Twilio Account SID"),
        ("json://", "not a URL"),
        ("tgram://planted-secret/", "tgram:// URL"),
        ("https://planted-secret.example.com/x", "this https:// URL lacks a part"),
        (f"{SLACK}/#a/#b", "this URL has 2 recipients; write one URL per recipient"),
        ("ntfy://localhost/planted1/planted2/planted3", "this URL has 3 recipients"),
        ("mailto://u:planted@example.com?to=a@x.com,b@x.com", "this URL has 2 recipients"),
        ("mailto://u:planted@example.com?to=a@x.com&cc=c@x.com", "this URL has 2 recipients"),
        ("mailto://u:planted@example.com?to=a@x.com&bcc=c@x.com", "this URL has 2 recipients"),
        ("json://localhost/planted?retry=2&to=a", None),
        (f"{SLACK}/#a?retry=3", None),
        ("mailto://u:planted@example.com?to=a@x.com&retry=5", None),
    ],
)
def test_urls_are_checked_before_anything_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, fault: str | None
) -> None:
    def load() -> None:
        made = notifier(tmp_path, "json://localhost/ok", url)
        asyncio.run(made.warm_up())

    if fault is None:
        load()
        return
    with pytest.raises(ConfigError) as caught:
        load()
    (problem,) = caught.value.problems
    assert problem.startswith("channels.ops, URL 2: ")
    assert fault in problem
    assert "planted" not in problem
    assert caplog.text == "", "Apprise says it a second time, with the bad part in full"


def test_loading_does_not_import_apprise_and_warming_up_does(tmp_path: Path) -> None:
    script = """
import asyncio, sys, threading
from pathlib import Path
from receiver.notify import ChannelSpec, Notifier

slow = {"apprise", "requests", "urllib3"}
made = Notifier({"ops": ChannelSpec(urls=("json://localhost/x",))}, home=Path("."))
made.get("ops/1-json")
assert not slow & set(sys.modules), slow & set(sys.modules)

async def main():
    from importlib import import_module
    importers = []
    class Spy:
        def find_spec(self, name, *_):
            if name in slow:
                importers.append(threading.current_thread().name)
    sys.meta_path.insert(0, Spy())
    await made.warm_up()
    assert set(importers) == {"notify-warm-up"}, importers
    await made.close()

asyncio.run(main())
assert slow <= set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_one_message_to_each_target_of_a_channel(tmp_path: Path, web: Web) -> None:
    async def run() -> None:
        made = notifier(
            tmp_path, f"json://{web.host}/in", f"json://{web.host}/status/404", "file://o.jsonl"
        )
        await made.warm_up()
        sends = (made.get(name).send(say()) for name in made.targets("ops"))
        outcomes = [result.outcome for result in await asyncio.gather(*sends)]
        assert outcomes == [Outcome.DELIVERED, Outcome.PERMANENT, Outcome.DELIVERED]
        await made.close()

    asyncio.run(run())
    assert (tmp_path / "o.jsonl").read_text().count("\n") == 1


def test_specs_do_not_show_their_urls() -> None:
    assert "planted" not in repr(ChannelSpec(urls=(SLACK,)))
