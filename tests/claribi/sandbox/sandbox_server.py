"""Real servers for the sandbox's tests: the sandbox itself, and a receiver of its webhooks."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from hypothesis import settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from claribi.sandbox import Delivery, Sandbox, create_app

law = settings(max_examples=100, deadline=None, derandomize=True, database=None)
"""How hypothesis tries the laws here: the same examples everywhere, however slow the machine."""


class _Server(uvicorn.Server):
    """Says when it listens, so that nobody has to look again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve the app on a free port, in a thread of its own; its origin."""
    config = uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="on")
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn under test")
    thread.start()
    try:
        assert server.ready.wait(10), "uvicorn did not start"
        assert server.started, "the app's lifespan failed"
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Running:
    """A sandbox that is served, and an administrator's client for it."""

    sandbox: Sandbox
    origin: str
    api: httpx2.Client

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A call with no credentials of its own."""
        return httpx2.request(method, f"{self.origin}/api/{path}", trust_env=False, **options)

    def control(self, method: str, path: str = "", body: Any = None) -> Any:
        """A call to the control API, which has to work; its JSON."""
        url = f"{self.origin}/sandbox/{path}"
        answer = httpx2.request(method, url, json=body, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fire(self, event_type: str, **data: Any) -> list[Delivery]:
        """Fire an event from this thread; its deliveries, each tried once."""
        return asyncio.run(self.sandbox.fire(event_type, **data))

    def drain(self) -> None:
        """Wait until nothing is under way any more."""
        assert asyncio.run(self.sandbox.drain()), "something is still under way"

    def login(self, email: str = "user@example.com", password: str = "your-password") -> Any:
        """The tokens of a login that needs no code."""
        answer = self.call("POST", "auth/login/", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    """Serve a sandbox that was made with these options."""
    app = create_app(**options)
    sandbox: Sandbox = app.state.sandbox
    with (
        served(app) as origin,
        httpx2.Client(
            base_url=f"{origin}/api/", headers={"X-API-Key": sandbox.api_key}, trust_env=False
        ) as api,
    ):
        yield Running(sandbox, origin, api)


@dataclass
class Receiver:
    """A receiver of webhooks that answers as it is told, and then 202."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The bodies that came, in order."""
        return [json.loads(body) for _, body in self.requests]

    @property
    def types(self) -> list[str]:
        """The event types that came, in order."""
        return [event["event"] for event in self.events]

    async def receive(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        status = self.statuses.pop(0) if self.statuses else 202
        return Response(f"said {status}", status_code=status)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve a receiver."""
    receiver = Receiver()
    app = Starlette(routes=[Route("/hooks/claribi", receiver.receive, methods=["POST"])])
    with served(app) as origin:
        receiver.url = f"{origin}/hooks/claribi"
        yield receiver
