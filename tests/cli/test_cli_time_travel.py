"""`clarihook replay --handler NAME --dry-run --diff`: old events through today's code."""

import json
import stat
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from live_deployment import Deployment, eventually

SHOP = {"id": 7, "name": "Shop", "type": "api", "engine": "shopify", "status": "active"}

HANDLER = """
from receiver import Reject, Skip


@on("count.*", name="mine.count")
async def count(event, ctx):
    number = event["data"]["number"]
    seen = await ctx.store.get("seen", 0) + 1
    await ctx.store.set("seen", seen)
    if number == 4:
        raise Reject("no fours")
    shop = await ctx.claribi.data_sources.get(7)
    ctx.notify("ops", title=f"{shop.name}: number {number}", body=f"seen {seen}")
"""
CHANGED = (
    HANDLER.replace("if number == 4", "if number == 1")
    .replace("no fours", "no ones")
    .replace('body=f"seen {seen}"', 'body=f"seen {seen}", severity=severity')
    .replace("    shop =", '    severity = "critical" if number == 2 else "info"\n'
             "    await ctx.claribi.data_sources.sync(7)\n"
             '    await ctx.http.post("http://127.0.0.1:9/", json={})\n'
             "    if number == 3:\n        return\n    shop =")
)  # fmt: skip


class Api:
    """clariBI: one data source to read."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        api = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.requests.append(f"{self.command} {self.path}")
                body = json.dumps(SHOP).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/api/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    try:
        yield api
    finally:
        api.close()


@pytest.fixture
def stored(tmp_path: Path, api: Api) -> Iterator[Deployment]:
    """Five events that the old code handled (the fourth died), then the code was changed."""
    deployment = Deployment(tmp_path / "home")
    config = deployment.home / "config/clarihook.toml"
    config.write_text(
        config.read_text()
        + f'\n[claribi]\nbase_url = "{api.base_url}"\napi_key = "claribi_sk_x"\n'
        + '\n[[routes]]\nmatch = "count.*"\nnotify = ["ops"]\ntitle = "Counted"\n'
    )
    handlers = deployment.home / "handlers/mine.py"
    old = handlers.read_text()
    handlers.write_text(old + HANDLER)
    deployment.serve()
    try:
        for number in range(5):
            deployment.send("count.up", "--data", json.dumps({"number": number}))
            eventually(
                lambda: (
                    deployment.json("deliveries", "list", "--limit", "100")["deliveries"]
                    and all(
                        delivery["finalized_at"]
                        for delivery in deployment.json("deliveries", "list", "--limit", "100")[
                            "deliveries"
                        ]
                    )
                )
            )
        deployment.stop()
        handlers.write_text(old + CHANGED)
        yield deployment
    finally:
        deployment.stop()


DIFF = ("--handler", "mine.count", "--since", "1d", "--dry-run", "--diff")


def test_what_would_now_be_said_that_was_not_said_then(stored: Deployment, api: Api) -> None:
    api.requests.clear()
    before = stored.json("deliveries", "list", "--limit", "100")
    said = len(stored.lines("data/messages.jsonl"))
    saved = stored.home / "answers.json"
    result = stored.run("replay", *DIFF, "--save-answers", str(saved))
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert "5 events through mine.count: 1 the same, 1 changed, 1 new, 2 no longer said, " in text
    assert "1 would fail, 1 would succeed" in text
    # The first one that fails now is not counted now either.
    assert "  - to ops, info: Shop: number 2\n  - seen 3\n" in text
    assert "  + to ops, critical: Shop: number 2\n  + seen 2\n" in text
    assert "  + to ops, info: Shop: number 4\n  + seen " in text
    assert "  - to ops, info: Shop: number 3\n" in text
    assert "  rejected: no ones\n" in text
    assert "not sent: POST data-sources/7/sync/, 4 times" in text
    assert "not sent: POST http://127.0.0.1:9/, 4 times" in text
    # Reads went out, each address once; nothing was sent, stored or kept.
    assert api.requests == ["GET /api/data-sources/7/"]
    assert stored.json("deliveries", "list", "--limit", "100") == before
    assert stored.json("replay", "list")["replays"] == []
    assert len(stored.lines("data/messages.jsonl")) == said
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600

    # From its answers the same comes out with nobody to ask.
    api.close()
    again = stored.run("replay", *DIFF, "--answers", str(saved))
    assert again.stdout == text
    document = json.loads(stored.run("replay", *DIFF, "--answers", str(saved), "--json").stdout)
    assert (document["events"], document["same"], document["changed"]) == (5, 1, 1)
    assert document["api_writes"]["POST data-sources/7/sync/"] == 4
    verdicts = [(each["verdict"], each["ending"]) for each in document["differences"]]
    assert verdicts == [
        ("gone", "would fail"), ("changed", "as before"), ("gone", "as before"),
        ("new", "would succeed"),
    ]  # fmt: skip
    changed = document["differences"][1]["changes"][0]
    assert (changed["then"]["severity"], changed["now"]["severity"]) == ("info", "critical")


def test_routes_are_compared_as_handlers_are(stored: Deployment) -> None:
    arguments = ("--handler", "routes", "--since", "1d", "--dry-run", "--diff")
    assert "5 events through routes: 5 the same" in stored.run("replay", *arguments).stdout
    config = stored.home / "config/clarihook.toml"
    config.write_text(config.read_text().replace('"Counted"', '"Counted {{ event.data.number }}"'))
    result = stored.run("replay", *arguments, "--where", "event.data.number >= 3")
    assert "2 events through routes: 2 changed" in result.stdout
    assert "  - to ops, info: Counted\n  + to ops, info: Counted 3\n" in result.stdout


def test_mistakes_say_what_to_add(stored: Deployment) -> None:
    for arguments, text in (
        (["--since", "1d", "--diff"], "add --handler NAME --dry-run"),
        (["--since", "1d", "--diff", "--handler", "mine.count"], "add --handler NAME --dry-run"),
        (["--since", "1d", "--save-answers", "x"], "--answers and --save-answers are for --diff"),
        ([*DIFF, "--answers", __file__], "--answers is no JSON"),
        ([*DIFF[:-2], "--type", "nothing.*", "--dry-run", "--diff"], "there is nothing to compare"),
        ([*DIFF, "--type", "other.x"], "--type: nothing is stored of type 'other.x'"),
        ([*DIFF, "--type", "clarihook.delivery.dead"], "of another type than mine.count is"),
        ([*DIFF, "--save-answers", "/nowhere/x"], "--save-answers /nowhere/x: No such file"),
    ):
        result = stored.run("replay", *arguments)
        assert result.returncode == 2, arguments
        assert text in result.stderr
        assert "Traceback" not in result.stderr
