"""The ASGI application: routes and lifespan, nothing else."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.acknowledge_link import PATH
from receiver.acknowledge_page import AcknowledgePage
from receiver.connections import answer_at_once, body_at_once
from receiver.engine import Engine, load_registry
from receiver.ingress import PREFIX, Ingress
from receiver.settings import Settings
from receiver.store.configured import open_store
from receiver.store.driver import SQLITE_VERSION
from receiver.store.sqlite import Role

log = structlog.get_logger("receiver.app")

_PORT = re.compile(rb":[0-9]*$")


class Application:
    """What uvicorn serves: webhooks go straight to ingress, all else through Starlette."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.engine = engine
        self.ingress = Ingress(
            engine.wiring.sources,
            engine.intake,
            max_body_bytes=settings.server.max_body_bytes,
            read_timeout_seconds=settings.server.read_timeout.total_seconds(),
            kept_body_bytes=_kept_body_bytes(settings),
            body_at_once=body_at_once,
            answer_at_once=answer_at_once,
        )
        self._hosts = _allowed_hosts(settings)
        engine.on_adopted = self._adopt
        page = AcknowledgePage(engine.store, lambda: engine.key)
        self._others = Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route("/", self._index, methods=["GET"]),
                Route(PATH + "{token}", page.answer, methods=["GET", "POST"]),
            ],
            exception_handlers={HTTPException: _error, Exception: _bug},
            lifespan=self._lifespan,
        )
        # A redirect would send the client wherever its Host header says.
        self._others.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        app: ASGIApp = self._others
        if scope["type"] == "http":
            if self._hosts and not self._hosts.issuperset(_hosts(scope)):
                app = _answer(421, "misdirected_request", "This server does not serve that host.")
            # The raw path: `request.url` would let a Host header rewrite it (CVE-2026-48710).
            elif scope["path"].startswith(PREFIX):
                app = self.ingress
        await app(scope, receive, send)

    def _adopt(self) -> None:
        """Receive by the settings that have come into force."""
        settings = self.engine.settings
        self._hosts = _allowed_hosts(settings)
        self.ingress.adopt(
            self.engine.wiring.sources,
            max_body_bytes=settings.server.max_body_bytes,
            kept_body_bytes=_kept_body_bytes(settings),
        )

    async def start(self) -> None:
        """Open the store and begin to run deliveries. Raises StoreError, with the remedy."""
        await self.engine.start()
        log.info(
            "server.ready",
            pid=os.getpid(),
            sqlite=".".join(map(str, SQLITE_VERSION)),
            handlers=len(self.engine.registry.handlers),
        )
        for problem in self.engine.registry.problems:
            log.error("handlers.not_loaded", file=problem.file, problem=problem.text)

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Refuse new events, finish or give back what runs within the time, and close."""
        self.ingress.is_draining = True
        await self.engine.stop(drain_seconds)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """For ASGI servers that know nothing of us; `receiver.server` starts and stops itself."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def _health(self, _request: Request) -> Response:
        """Whether the receiver accepts, for load balancers and container health checks."""
        draining = self.ingress.is_draining
        body = {
            "status": "draining" if draining else "ok",
            "backlog": self.engine.dispatcher.backlog.count,
            "held": self.engine.dispatcher.held,
            "accepts": self.engine.refusal is None,
            "reason": self.engine.refusal,
            "running": self.engine.dispatcher.running,
            "abandoned": self.engine.dispatcher.abandoned,
            "stopped_handlers": self.engine.dispatcher.stopped_lanes,
            "handlers": len(self.engine.registry.handlers),
            "handler_problems": len(self.engine.registry.problems),
            "open_circuits": sorted(self.engine.dispatcher.circuits.open),
            "waiting_for_nobody": sum(self.engine.dispatcher.without_lane.values()),
        }
        return JSONResponse(body, 503 if draining else 200)

    async def _index(self, _request: Request) -> Response:
        return JSONResponse({"name": "clarihook", "hooks": f"{PREFIX}{{source}}"})


def create_app(settings: Settings, *, role: Role = "owner") -> Application:
    """The application of a deployment; several that share its database are its `worker`s.

    Raises ConfigError or HandlerLoadError for what is wrong with the settings or the handlers;
    the store is opened by the lifespan.
    """
    engine = Engine(settings, open_store(settings, role=role), load_registry(settings))
    return Application(settings, engine)


def _allowed_hosts(settings: Settings) -> frozenset[bytes]:
    return frozenset(host.lower().encode() for host in settings.server.allowed_hosts)


def _kept_body_bytes(settings: Settings) -> int | None:
    return settings.rejections.max_body_bytes if settings.rejections.enabled else None


def _hosts(scope: Scope) -> set[bytes]:
    """The hosts that a request names, without their ports: one, unless it is up to no good."""
    values = [value.lower() for name, value in scope["headers"] if name == b"host"]
    return {_PORT.sub(b"", value) for value in values or [b""]}


def _answer(status: int, error: str, message: str) -> JSONResponse:
    return JSONResponse({"error": error, "message": message}, status)


async def _error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for just these"
    codes = {404: "not_found", 405: "method_not_allowed"}
    return JSONResponse(
        {"error": codes.get(error.status_code, "error"), "message": error.detail},
        error.status_code,
        headers=error.headers,
    )


async def _bug(_request: Request, _error: Exception) -> Response:
    return _answer(500, "internal_error", "The server made an error; its log has the details.")
