"""What all resources share."""

from dataclasses import dataclass
from typing import TypeVar

from claribi.answers import Reply
from claribi.call import Call
from claribi.engine import Engine
from claribi.errors import RequestInfo

T = TypeVar("T")


class Resource:
    """A group of operations, run by one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def _run(self, call: Call[T]) -> T:
        return await self._engine.run(call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A DELETE has succeeded."""

    already_gone: bool
    """The first answer was lost and a retry found nothing left to delete."""


def read_deleted(reply: Reply, _request: RequestInfo) -> Deleted:
    """Reads the answer to a DELETE: 204, or the 404 of a retry."""
    return Deleted(already_gone=reply.status == 404)
