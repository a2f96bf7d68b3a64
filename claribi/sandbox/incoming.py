"""What an operation gets to see of a request: already authenticated, parsed and valid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from claribi.sandbox.auth import Identity
from claribi.sandbox.bodies import ListQuery
from claribi.sandbox.lists import ItemT, ShapeT, paginate, select
from claribi.sandbox.records import User
from claribi.sandbox.shapes import Page

InputT = TypeVar("InputT")
ListQueryT = TypeVar("ListQueryT", bound=ListQuery)


@dataclass(frozen=True, kw_only=True)
class Incoming(Generic[InputT]):
    """One request."""

    input: InputT
    """The body, or the query parameters of a list; None where an operation takes neither."""
    identity: Identity | None = None
    """None for the operations that need no login."""
    id: int = 0
    """From the path, where it has one."""
    url: str = ""
    """Scheme, host and path as the caller wrote them."""
    params: Sequence[tuple[str, str]] = ()
    """The raw query parameters."""

    @property
    def user(self) -> User:
        """Who calls."""
        assert self.identity is not None, "only operations behind a login ask who calls"
        return self.identity.user


def answer_list(
    incoming: Incoming[ListQueryT],
    items: Sequence[ItemT],
    shape: Callable[[ItemT], ShapeT],
) -> Page[ShapeT]:
    """The page that a list request asks for."""
    chosen = select(items, incoming.input)
    return paginate(chosen, incoming.input, shape, url=incoming.url, params=incoming.params)
