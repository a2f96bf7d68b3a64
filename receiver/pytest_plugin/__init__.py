"""The pytest plugin: a receiver with your handlers and a clariBI to speak to, in a test.

It comes with clarihook (`-p no:clarihook` turns it off). A project that asks for none of the
fixtures pays for this file alone: everything else is imported by the fixture that needs it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from receiver.pytest_plugin.deployed import Deployed, SendEvent
    from receiver.pytest_plugin.sandbox import ServedSandbox

_MARKER = """\
clarihook(home=None, handlers=None, channels=("ops",)): what the fixture `clarihook` serves. \
home: the deployment's folder; without it, the nearest one above the test that has handlers/ or \
config/clarihook.toml. handlers: files and folders of handlers instead of the deployment's own. \
channels: those that there are if the deployment has no settings."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def _claribi_sandbox_server() -> "Iterator[ServedSandbox]":
    """One sandbox for all tests: it takes longer to start than to reset."""
    from receiver.pytest_plugin.sandbox import serve_sandbox  # noqa: PLC0415

    with serve_sandbox() as served:
        yield served


@pytest.fixture
def claribi_sandbox(_claribi_sandbox_server: "ServedSandbox") -> "Iterator[ServedSandbox]":
    """clariBI's stand-in, served over HTTP and as fresh as at its start.

    `.base_url` is its API's address, `.client()` makes an `AsyncClariBI` for it, `.sandbox` is
    the `claribi.sandbox.Sandbox` that a test shapes: `claribi_sandbox.sandbox.fail_next()`.
    """
    _claribi_sandbox_server.reset()
    yield _claribi_sandbox_server
    _claribi_sandbox_server.reset()


@pytest.fixture
def clarihook(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    claribi_sandbox: "ServedSandbox",
) -> "Iterator[Deployed]":
    """A real receiver with the deployment's handlers and routes, on a port of its own.

    Its database is its own, its secrets are made up, its channels keep what they get, and its
    clariBI is `claribi_sandbox`, whose webhooks come here. See `Deployed`, and the marker
    `@pytest.mark.clarihook(…)` for another folder, other handlers or channels.
    """
    from receiver.pytest_plugin.deployed import deploy, find_home  # noqa: PLC0415

    marker = request.node.get_closest_marker("clarihook")
    options = dict(marker.kwargs) if marker is not None else {}
    options.setdefault("home", None)
    if options["home"] is None:
        options["home"] = find_home(request.path, request.config.rootpath)
    folder = tmp_path_factory.mktemp("clarihook")
    with deploy(folder, claribi_sandbox, **options) as deployed:
        yield deployed


@pytest.fixture
def send_event(clarihook: "Deployed") -> "SendEvent":
    """`send_event("report.generated", {"report_id": 15})`: `clarihook.send`.

    It sends a signed webhook, waits until all that comes of it has ended or waits for a later
    attempt, and returns a `SentEvent`: the deliveries, and the messages that were sent.
    """
    return clarihook.send
