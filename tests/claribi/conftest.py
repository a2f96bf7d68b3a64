"""A sandbox over real HTTP, and both clients."""

from collections.abc import Iterator

import pytest
from client_faces import AsyncFace, Face, SyncFace
from client_server import Recorder, Stage, serve
from hypothesis import settings

from claribi.sandbox import create_app

# A law is not false because the machine was busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def _stage() -> Iterator[Stage]:
    app = create_app()
    recorder = Recorder(app)
    with serve(recorder) as base_url:
        yield Stage(base_url, app.state.sandbox, recorder.seen)


@pytest.fixture
def stage(_stage: Stage) -> Stage:
    """The sandbox as it is when it starts; nothing has reached it."""
    _stage.sandbox.reset()
    _stage.seen.clear()
    return _stage


@pytest.fixture(params=[SyncFace, AsyncFace], ids=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Runs the test's calls, once on each client."""
    one = request.param()
    try:
        yield one
    finally:
        one.close()
