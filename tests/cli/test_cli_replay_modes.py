"""`clarihook replay`: which events, and what of them, with a channel that may refuse."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from live_deployment import Deployment, eventually


class Pager:
    """A JSON webhook that refuses what comes until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False
        self.received = 0
        pager = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                pager.received += 1
                self.send_response(200 if pager.is_mended else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


HANDLERS = """
@on("paged.*")
async def page(event, ctx):
    with (HOME / "handled").open("a") as file:
        file.write(f"{ctx.event.id}\\n")
    ctx.notify("pager", title=f"number {event['data']['number']}")
    ctx.notify("ops", title="Paged")
"""


@pytest.fixture
def pager() -> Iterator[Pager]:
    pager = Pager()
    try:
        yield pager
    finally:
        pager.close()


@pytest.fixture
def stored(tmp_path: Path, pager: Pager) -> Iterator[Deployment]:
    """Three events of which the pager refused to hear, and one of another type; a server runs."""
    deployment = Deployment(tmp_path / "home")
    config = deployment.home / "config/clarihook.toml"
    config.write_text(config.read_text() + f'\n[channels.pager]\nurls = ["{pager.url}"]\n')
    handlers = deployment.home / "handlers/mine.py"
    handlers.write_text(handlers.read_text() + HANDLERS)
    deployment.serve()
    try:
        for number in (1, 2, 3):
            deployment.send("paged.now", "--data", f'{{"number": {number}}}')
        deployment.send("good.a")
        eventually(lambda: len(deployment.lines("data/messages.jsonl")) == 3)
        eventually(lambda: len(dead(deployment)) == 3)
        eventually(lambda: len(deployment.lines("handled")) == 4)
        yield deployment
    finally:
        deployment.stop()


def dead(deployment: Deployment) -> list[str]:
    listed = deployment.json("deliveries", "list", "--state", "dead")["deliveries"]
    return [delivery["name"] for delivery in listed]


def test_what_a_channel_missed_is_sent_once_it_is_mended(stored: Deployment, pager: Pager) -> None:
    """No handler runs for it, and nobody else hears again; the next time nothing is left."""
    pager.is_mended = True
    before = pager.received
    missed = ("--channel", "pager", "--since", "1h", "--state", "dead")
    document = stored.json("replay", "run", *missed, "--dry-run")
    assert document["events"] == 3
    assert {tuple(each["becomes"]) for each in document["first"]} == {("pager/1-json",)}
    result = stored.run("replay", *missed)
    assert (result.returncode, result.stdout) == (0, "replay 1 ended: 3 events, 3 succeeded\n")
    assert pager.received == before + 3
    assert len(stored.lines("handled")) == 4
    assert len(stored.lines("data/messages.jsonl")) == 3
    assert "there is nothing to replay" in stored.run("replay", *missed).stderr
    again = stored.run("replay", "--type", "paged.*", "--messages", "--limit", "2")
    assert again.stdout == "replay 2 ended: 2 events, 4 succeeded\n"
    assert len(stored.lines("handled")) == 4


def test_without_notifying_handlers_run_and_what_they_say_is_shown(
    stored: Deployment, pager: Pager
) -> None:
    before = pager.received
    result = stored.run("replay", "--type", "paged.*", "--no-notify", "--order", "newest")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "replay 1 ended: 3 events, 3 succeeded, 6 not sent"
    said = [line.split(maxsplit=1)[1] for line in lines if "to pager" in line]
    assert said == [f"to pager, info: number {number}" for number in (3, 2, 1)]
    assert pager.received == before
    assert len(stored.lines("data/messages.jsonl")) == 3
    assert len(stored.lines("handled")) == 7
    shown = stored.json("replay", "show", "1")
    assert (shown["sends_messages"], shown["states"]) == (False, {"succeeded": 3, "cancelled": 6})
    assert {message["channel"] for message in shown["not_sent"]} == {"pager", "ops"}
    listed = stored.json("deliveries", "list", "--replay", "1", "--state", "cancelled")
    assert listed["deliveries"][0]["reason"] == ("shown, not sent: replay 1 runs with --no-notify")
    # A trial counts for nothing: what died is still what died, and only that is meant.
    assert stored.json("events", "list", "--type", "clarihook.delivery.dead")["events"] != []
    assert (
        stored.json("replay", "run", "--type", "*", "--state", "dead", "--dry-run")["events"] == 3
    )


def test_a_condition_chooses_by_what_is_in_the_event(stored: Deployment) -> None:
    where = ("--type", "*", "--where", "event.data.number > 1 && source == 'claribi'")
    document = stored.json("replay", "run", *where, "--dry-run")
    assert (document["events"], document["undecided"]) == (2, 1)
    assert "there is no field 'number'" in document["why_undecided"]
    assert sum(bucket["events"] for bucket in document["histogram"]) == 2
    assert (
        "could not be decided for 1 events"
        in stored.call("replay", "run", *where, "--dry-run").stderr
    )
    result = stored.run("replay", *where, "--handler", "mine.page", "--json")
    assert '"selected": 2' in result.stdout
    assert len(stored.lines("handled")) == 6
    newest = stored.json("replay", "run", *where, "--limit", "1", "--order", "newest", "--dry-run")
    oldest = stored.json("replay", "run", *where, "--limit", "1", "--dry-run")
    assert newest["events"] == oldest["events"] == 1
    assert newest["first"][0]["id"] > oldest["first"][0]["id"]


def test_a_replay_is_watched_from_elsewhere(stored: Deployment) -> None:
    (stored.home / "go").unlink(missing_ok=True)
    stored.send("slow.a", "--count", "2")
    eventually(lambda: len(stored.lines("started")) == 2)
    run = stored.popen("replay", "--type", "slow.*", "--concurrency", "1")
    eventually(lambda: len(stored.lines("started")) == 3)
    watch = stored.popen("replay", "watch", "1")
    assert watch.stderr is not None
    assert watch.stderr.readline().startswith("replay 1: ")
    (stored.home / "go").touch()
    out, _ = watch.communicate(timeout=60)
    assert (watch.returncode, out) == (0, "replay 1 ended: 2 events, 2 succeeded\n")
    assert run.communicate(timeout=60)[0] == out
    assert stored.json("replay", "show", "1")["concurrency"] == 1


def test_mistakes_are_told_with_the_nearest_name(stored: Deployment) -> None:
    for arguments, text in (
        (["--where", "event.data.number >"], "is no CEL expression: column 20: mismatched"),
        (["--where", "evnt.a == 1"], "there is no evnt in a condition; use event, received_at"),
        (["--channel", "pagr"], "there is no channel 'pagr'; did you mean \"pager\"?"),
        (["--type", "paged.nwo"], "nothing is stored of type 'paged.nwo'; did you mean"),
        (["--source", "clariby"], "nothing is stored of source 'clariby'; did you mean"),
        (["--type", "*", "--messages", "--no-notify"], "--messages sends messages"),
        (["--channel", "ops", "--no-notify"], "--channel sends messages"),
        (["--type", "*", "--order", "latest"], "'latest' is not one of 'oldest'"),
        (["--type", "*", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (["watch", "9"], "there is no replay 9"),
    ):  # fmt: skip
        result = stored.call("replay", *arguments)
        assert result.returncode == 2, arguments
        assert text in " ".join((result.stderr + result.stdout).split()), (text, result)
