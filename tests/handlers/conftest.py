import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from receiver.registry import Registry, load_handlers
from receiver.testing import HandlerRun, run_handler

SHIPPED = Path(__file__).parents[2] / "handlers"


@pytest.fixture(scope="session")
def shipped() -> Registry:
    """The handlers that a deployment starts with."""
    return load_handlers([SHIPPED])


@pytest.fixture
def run(shipped: Registry, request: pytest.FixtureRequest) -> Callable[..., HandlerRun]:
    """Run the handler that the test module names as HANDLER, with only `ops` configured."""
    handler = shipped.get(request.module.HANDLER)
    assert handler is not None
    options: dict[str, Any] = {"channels": {"ops"}}
    return partial(run_handler, handler, **options)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where clarihook was installed without its extra `charts`."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
