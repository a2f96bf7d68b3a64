"""Who only looks at what is stored need not have the server's secrets at hand."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.errors import ConfigError
from receiver.model import NewDelivery, NewEvent
from receiver.settings import load_settings
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

CONFIG = """
[sources.claribi]
scheme = "claribi"
secrets = ["env:MADE_UP_SECRET", "file:secrets/nowhere"]

[claribi]
api_key = "env:MADE_UP_KEY"

[channels.ops]
urls = ["env:MADE_UP_URL"]
"""

Clarihook = Callable[..., subprocess.CompletedProcess[str]]


async def _store_one(path: Path) -> None:
    now_ms = int(time.time() * 1000)
    event = NewEvent(new_event_id(now_ms), "claribi", "a.b", now_ms, b"{}", "", None, 0, bytes(32))
    store = SqliteStore(path)
    await store.open()
    await store.record(event, [NewDelivery("handler", "file.function", 8)])
    await store.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A deployment with one event, whose secrets are nowhere."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "clarihook.toml").write_text(CONFIG, "utf-8")
    (tmp_path / "handlers").mkdir()
    asyncio.run(_store_one(tmp_path / "data" / "clarihook.db"))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    ["events list", "events export", "deliveries list", "replay list", "rejections list",
     "handlers list", "deliveries retry --state pending --yes"],
)  # fmt: skip
def test_looking_and_moving_needs_no_secret(clarihook: Clarihook, home: Path, command: str) -> None:
    done = clarihook(*command.split(), "--home", str(home))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_event_is_shown_without_secrets(clarihook: Clarihook, home: Path) -> None:
    (event,) = json.loads(clarihook("events", "list", "--json", "--home", str(home)).stdout)[
        "events"
    ]
    shown = clarihook("events", "show", event["id"], "--json", "--home", str(home))
    assert json.loads(shown.stdout)["type"] == "a.b"


def test_serving_still_needs_every_secret(clarihook: Clarihook, home: Path) -> None:
    done = clarihook("serve", "--home", str(home))
    assert done.returncode == 2
    for name in ("MADE_UP_SECRET", "MADE_UP_KEY", "MADE_UP_URL", "secrets/nowhere"):
        assert name in done.stderr


def test_the_databases_address_is_always_needed(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    settings = CONFIG + '[store]\nurl = "env:MADE_UP_DATABASE"\n'
    (tmp_path / "config" / "clarihook.toml").write_text(settings, "utf-8")
    with pytest.raises(ConfigError, match="MADE_UP_DATABASE") as raised:
        load_settings(tmp_path, {}, needs_secrets=False)
    assert len(raised.value.problems) == 1
