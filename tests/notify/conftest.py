"""The real endpoints of notify_endpoints.py, one of each per test."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from notify_endpoints import Mail, MakeTarget, Web
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


class _AnyPort(Controller):
    """Controller asks the port that it was given for its first hello, even where that is 0."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mail() -> Iterator[Mail]:
    box = Mail()

    def authenticate(_s: Any, _sess: Any, _env: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.credentials = (data.login, data.password)
        return AuthResult(success=data.password == b"sekret-mail-password", handled=False)

    controller = _AnyPort(
        box,
        hostname="127.0.0.1",
        port=0,
        authenticator=authenticate,
        auth_require_tls=False,
    )
    controller.start()
    box.port = controller.port
    yield box
    if box.hang is not None:
        controller.loop.call_soon_threadsafe(box.hang.set)
    controller.stop()


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
