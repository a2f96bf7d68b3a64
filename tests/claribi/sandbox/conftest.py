from collections.abc import Iterator

import pytest
from sandbox_server import Receiver, Running, receiving, running


@pytest.fixture(scope="session")
def one_sandbox() -> Iterator[Running]:
    with running() as one:
        yield one


@pytest.fixture
def served(one_sandbox: Running) -> Running:
    """A sandbox over HTTP, as it is when it starts."""
    for webhook in list(one_sandbox.sandbox.state.webhooks):
        one_sandbox.sandbox.remove_webhook(webhook)
    one_sandbox.sandbox.reset()
    return one_sandbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks over HTTP."""
    with receiving() as one:
        yield one
