"""The yardstick: a Starlette app that reads the body and answers 202, doing nothing else."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def receive(request: Request) -> Response:
    """Read the whole body, answer 202."""
    await request.body()
    return Response(b'{"id": "evt_0", "duplicate": false}', 202, media_type="application/json")


app = Starlette(routes=[Route("/hooks/claribi", receive, methods=["POST"])])
