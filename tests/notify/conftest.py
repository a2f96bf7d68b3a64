"""The real endpoints of notify_endpoints.py, one of each per test."""

import socket
from collections.abc import Iterator

import pytest
from notify_endpoints import Mail, MakeTarget, Web, mailbox
from service_forms import Services
from service_server import ServiceServer, redirected

from receiver.notify.apprise_target import AppriseTarget
from receiver.notify.redact import Redactor
from receiver.rate import Rate


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _service_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceServer]:
    server = ServiceServer(Services(), tmp_path_factory.mktemp("services"))
    yield server
    server.stop()


@pytest.fixture
def services(
    _service_server: ServiceServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServiceServer]:
    """Slack, Discord and the others; their names lead to it. One for all tests, emptied."""
    server = _service_server
    server.clear()
    server.judge = Services()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    with redirected(server.tls_port):
        yield server
    server.clear()


@pytest.fixture
def mail() -> Iterator[Mail]:
    with mailbox() as box:
        yield box


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def make_target() -> MakeTarget:
    def make(
        url: str,
        *,
        name: str = "ops/1-test",
        timeout: float = 5.0,
        rate: Rate | None = None,
        concurrency: int = 1,
    ) -> AppriseTarget:
        return AppriseTarget(
            name,
            url,
            where="channels.ops, URL 1",
            timeout_seconds=timeout,
            rate=rate,
            concurrency=concurrency,
            redactor=Redactor(urls=[url]),
        )

    return make
