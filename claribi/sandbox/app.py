"""The sandbox as a Starlette application."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from claribi.sandbox import state_file
from claribi.sandbox.clock import SandboxClock
from claribi.sandbox.control import control_routes
from claribi.sandbox.endpoint import error_response
from claribi.sandbox.errors import ApiError
from claribi.sandbox.gate import Gate
from claribi.sandbox.openapi import document
from claribi.sandbox.sandbox import Sandbox
from claribi.sandbox.signing import Signer
from claribi.sandbox.world import RateLimit, Settings, World


def create_app(
    *,
    speed: float = 600.0,
    webhook_urls: Iterable[str] = (),
    webhook_secret: str | None = None,
    signer: Signer | None = None,
    state_path: str | Path | None = None,
    start_at: datetime | None = None,
    rate_limit: RateLimit | None = None,
    settings: Settings | None = None,
) -> Starlette:
    """A sandbox to serve; `app.state.sandbox` is its `Sandbox`. Its lifespan must run.

    At `speed` 600 a sync of "2 minutes" takes 200 ms. `signer` signs every webhook; without
    one, `webhook_secret` does, as the `claribi` preset. `start_at` is what the sandbox takes
    for now. Raises StateFileError if `state_path` holds something else.
    """
    path = Path(state_path) if state_path is not None else None
    state = state_file.load(path)
    clock = SandboxClock(speed=speed, offset_seconds=state.offset_seconds)
    if start_at is not None:
        clock.offset_seconds = start_at.timestamp() - clock.real()
    world = World(
        state=state,
        clock=clock,
        settings=settings or Settings(),
        rate_limit=rate_limit,
        signer=signer,
    )
    sandbox = Sandbox(world, state_path=path)
    for url in webhook_urls:
        known = [webhook for webhook in state.webhooks.values() if webhook.url == url]
        for webhook in known:
            webhook.secret = webhook_secret or webhook.secret
        if not known:
            sandbox.add_webhook(url, secret=webhook_secret)
    return _application(sandbox)


def _application(sandbox: Sandbox) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sandbox.running():
            yield

    app = Starlette(
        routes=[
            Route("/openapi.json", _openapi),
            *control_routes(sandbox),
            Route("/api/{path:path}", Gate(sandbox.world)),
        ],
        lifespan=lifespan,
        exception_handlers={404: _not_found},
    )
    app.router.redirect_slashes = False
    app.state.sandbox = sandbox
    return app


async def _openapi(_: Request) -> Response:
    return Response(json.dumps(document(), indent=1), media_type="application/json")


async def _not_found(request: Request, _: Exception) -> Response:
    text = f"There is nothing at {request.url.path}; the API is under /api/."
    return error_response(ApiError(404, detail=text))
