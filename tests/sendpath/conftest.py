"""These tests run the server of tests/server against the endpoints of tests/notify."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "server"), str(TESTS / "notify"), str(TESTS / "chaos")]

from notify_endpoints import Mail, mailbox  # noqa: E402
from service_forms import Services  # noqa: E402
from service_server import ServiceServer  # noqa: E402


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[ServiceServer]:
    """All services behind one address, for a server in a process of its own."""
    server = ServiceServer(Services(), tmp_path)
    yield server
    server.stop()


@pytest.fixture
def mail() -> Iterator[Mail]:
    with mailbox() as box:
        yield box
