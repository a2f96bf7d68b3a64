"""Lists as pure functions: filter, search, order, and cut one page."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from claribi.sandbox.bodies import ListQuery
from claribi.sandbox.errors import ApiError
from claribi.sandbox.shapes import Page


class Listed(Protocol):
    """What every listed thing has; a `description` and filtered fields are looked up by name."""

    id: int
    name: str
    created_at: datetime


ItemT = TypeVar("ItemT", bound=Listed)
ShapeT = TypeVar("ShapeT")

FILTERS = {"status": "status", "type": "type", "workspace": "workspace_id"}
"""Query parameter → the field that it must equal."""


def select(items: Sequence[ItemT], query: ListQuery) -> list[ItemT]:
    """The items that the query leaves, in the asked order; ties, and no order, go by id."""
    chosen = sorted((item for item in items if _matches(item, query)), key=lambda item: item.id)
    for name in reversed((query.ordering or "").split(",")):
        if name:
            chosen = _ordered(chosen, name.removeprefix("-"), descending=name.startswith("-"))
    return chosen


def paginate(
    items: Sequence[ItemT],
    query: ListQuery,
    shape: Callable[[ItemT], ShapeT],
    *,
    url: str,
    params: Sequence[tuple[str, str]],
) -> Page[ShapeT]:
    """One page, with links to its neighbours: `url` with the caller's own other parameters.

    Raises ApiError 404 past the end; page 1 of an empty list is an empty page.
    """
    start = (query.page - 1) * query.page_size
    if start >= len(items) and query.page > 1:
        raise ApiError(404, detail=f"There is no page {query.page}; the list has {len(items)}.")
    has_next = start + query.page_size < len(items)
    return Page(
        count=len(items),
        next=_link(url, params, query.page + 1) if has_next else None,
        previous=_link(url, params, query.page - 1) if query.page > 1 else None,
        results=[shape(item) for item in items[start : start + query.page_size]],
    )


def _matches(item: Listed, query: ListQuery) -> bool:
    for parameter, field in FILTERS.items():
        wanted = getattr(query, parameter, None)
        if wanted is not None and getattr(item, field) != wanted:
            return False
    if query.created_after and item.created_at < query.created_after:
        return False
    if query.created_before and item.created_at > query.created_before:
        return False
    return _is_found(item, query.search or "")


def _is_found(item: Listed, search: str) -> bool:
    text = f"{item.name}\n{getattr(item, 'description', '')}".casefold()
    return all(word in text for word in search.casefold().split())


def _ordered(items: list[ItemT], field: str, *, descending: bool) -> list[ItemT]:
    """Sorted stably by one field; what has no value comes last in both directions."""

    def key(item: ItemT) -> Any:
        value = getattr(item, field)
        return value.casefold() if isinstance(value, str) else value

    known = [item for item in items if getattr(item, field) is not None]
    unknown = [item for item in items if getattr(item, field) is None]
    return sorted(known, key=key, reverse=descending) + unknown


def _link(url: str, params: Sequence[tuple[str, str]], page: int) -> str:
    others = [(name, value) for name, value in params if name != "page"]
    return f"{url}?{urlencode([*others, ('page', str(page))])}"
