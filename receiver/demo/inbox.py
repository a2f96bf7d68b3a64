"""The demo's JSON webhook: where messages arrive that Apprise sends."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/messages"


class Inbox:
    """Counts what it is sent, as Apprise's `json://` service sends it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route(PATH, self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        self.messages.append(json.loads(await request.body()))
        return Response(status_code=204)
