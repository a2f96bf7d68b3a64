"""docs/handlers.md tells the truth: its examples run, and it names every option and attribute."""

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver import events
from receiver.pytest_plugin.deployed import SentEvent, deploy
from receiver.registry import Context, load_handlers, on
from receiver.testing import run_handler

TEXT = (Path(__file__).parents[1] / "docs/handlers.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FOR_DISPATCH = {"notes", "staged", "staged_values"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the page's first handler."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/big_syncs.py").write_text(CODE[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("handlers", "handlers.big_syncs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_first_handler_loads_and_runs(home: Path) -> None:
    registry = load_handlers([home / "handlers"])
    handler = registry.get("big_syncs.praise")
    assert handler is not None
    assert (handler.retry.attempts, handler.timeout_seconds) == (5, 30)
    small = {
        "data_source_id": 1, "data_source_name": "Shop",
        "records_synced": 2, "duration_seconds": 1,
    }  # fmt: skip
    assert run_handler(handler, "data_source.sync_completed", data=small).messages == ()


@pytest.mark.usefixtures("home")
def test_the_example_of_a_test_passes() -> None:
    (example,) = [code for code in CODE if "def test_a_big_sync_is_praised" in code]
    namespace: dict[str, object] = {}
    exec(example, namespace)
    test = namespace["test_a_big_sync_is_praised"]
    assert callable(test)
    test()


@pytest.mark.usefixtures("home")
def test_the_example_with_the_plugin_passes(
    home: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (example,) = [code for code in CODE if "def test_a_big_sync_is_told" in code]
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    sandbox = request.getfixturevalue("claribi_sandbox")
    with deploy(tmp_path_factory.mktemp("served"), sandbox, home=home) as deployed:
        namespace["test_a_big_sync_is_told"](deployed.send, sandbox)


def test_every_fixture_and_all_that_it_gives_is_named() -> None:
    for name in ("send_event", "clarihook", "claribi_sandbox"):
        assert f"| `{name}` |" in TEXT
    for field in dataclasses.fields(SentEvent):
        if field.name != "is_duplicate":
            assert f"`{field.name}`" in TEXT


def test_every_option_of_on_is_in_the_table() -> None:
    for parameter in inspect.signature(on).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert f"| `{parameter.name}` |" in TEXT


def test_everything_that_a_context_has_is_in_the_table() -> None:
    names = {name for name in dir(Context) if not name.startswith("_")} - FOR_DISPATCH
    for name in names:
        assert f"`ctx.{name}" in TEXT


def test_every_event_model_is_named() -> None:
    for model in (*events.MODELS.values(), events.ClariBIEvent, events.DeliveryDead):
        assert f"`{model.__name__}`" in TEXT
