"""Lists: fetched page by page, as they are walked."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import parse_qsl

from claribi.answers import Reply
from claribi.blocking import run
from claribi.call import Call, ParamValue
from claribi.errors import ConfigurationError, NotFoundError, PaginationError, RequestInfo
from claribi.models import ItemT, Page
from claribi.retry import Kind
from claribi.urls import query_of_next

MAX_PAGES = 10_000
MAX_STALE_PAGES = 3
"""Pages in a row without anything new: a growing list repeats items, but not for so long."""


class ListOptions(TypedDict, total=False):
    """Query parameters that every list takes ("most", says the reference)."""

    page: int
    """Where to start; 1 is the first."""
    page_size: int
    """1 to 100; the server's default is 20."""
    search: str
    """Full text, over name and description."""
    ordering: str
    """A field to sort by; `-created_at` for the newest first."""
    created_after: datetime
    """Aware."""
    created_before: datetime
    """Aware."""
    extra_query: Mapping[str, ParamValue]
    """Parameters that the reference doesn't know."""


def list_params(options: ListOptions, **filters: ParamValue) -> dict[str, ParamValue]:
    """A list's query; raises ConfigurationError for a page out of range."""
    extra = options.get("extra_query", {})
    params: dict[str, ParamValue] = {
        name: value
        for name, value in options.items()
        if name != "extra_query" and isinstance(value, str | int | datetime)
    }
    _check_range(params, "page", 1, None)
    _check_range(params, "page_size", 1, 100)
    return {**params, **filters, **extra}


def _check_range(params: dict[str, Any], name: str, low: int, high: int | None) -> None:
    value = params.get(name, low)
    if not isinstance(value, int) or value < low or (high is not None and value > high):
        limit = f"from {low} to {high}" if high is not None else f"{low} or more"
        raise ConfigurationError(f"{name} must be {limit}, not {value!r}")


class AsyncPages(Generic[ItemT]):
    """A lazy list: nothing is fetched before it is walked. Each walk starts anew."""

    def __init__(
        self,
        fetch: Callable[[Call[Page[ItemT]]], Awaitable[Page[ItemT]]],
        path: str,
        read: Callable[[Reply, RequestInfo], Page[ItemT]],
        params: Mapping[str, ParamValue],
        base_url: str,
    ) -> None:
        self._fetch = fetch
        self._path = path
        self._read = read
        self._params = dict(params)
        self._base_url = base_url

    async def page(self, number: int) -> Page[ItemT]:
        """One page; 1 is the first. Raises NotFoundError past the end."""
        params = {**self._params, "page": number}
        _check_range(params, "page", 1, None)
        return await self._get(params)

    async def count(self) -> int:
        """How many there are, as the server counts. One request."""
        return (await self._get({**self._params, "page": 1, "page_size": 1})).count

    async def first(self) -> ItemT | None:
        """The first item in the list's order; None if it is empty. One request."""
        is_later_page = "page" in self._params  # whose first item depends on the page's size
        params = self._params if is_later_page else {**self._params, "page_size": 1}
        results = (await self._get(params)).results
        return results[0] if results else None

    async def pages(self) -> AsyncGenerator[Page[ItemT], None]:
        """Page by page. Raises PaginationError for a `next` that can't be followed."""
        params = dict(self._params)
        seen: set[str] = set()
        while True:
            try:
                page = await self._get(params)
            except NotFoundError:
                if not seen:
                    raise
                return  # The list became shorter while it was walked.
            yield page
            if page.next is None:
                return
            query = query_of_next(page.next, self._base_url)
            if query in seen or len(seen) + 1 >= MAX_PAGES:
                raise PaginationError(f"{self._path}: the pages never end ({len(seen) + 1} so far)")
            seen.add(query)
            params = dict(parse_qsl(query, keep_blank_values=True))

    async def __aiter__(self) -> AsyncGenerator[ItemT, None]:
        """Item by item. Each id comes once, even if the list moves while it is walked."""
        seen: set[int] = set()
        stale_pages = 0
        async for page in self.pages():
            fresh = [item for item in page.results if item.id not in seen]
            stale_pages = 0 if fresh else stale_pages + 1
            if stale_pages > MAX_STALE_PAGES:
                raise PaginationError(f"{self._path}: {stale_pages} pages brought nothing new")
            for item in fresh:
                # Also inside one page: `fresh` was chosen before its own items were noted.
                if item.id not in seen:
                    seen.add(item.id)
                    yield item

    async def _get(self, params: Mapping[str, ParamValue]) -> Page[ItemT]:
        call = Call(method="GET", path=self._path, kind=Kind.SAFE, read=self._read, params=params)
        return await self._fetch(call)


class Pages(Generic[ItemT]):
    """A lazy list: nothing is fetched before it is walked. Each walk starts anew."""

    def __init__(self, pages: AsyncPages[ItemT]) -> None:
        self._pages = pages

    def page(self, number: int) -> Page[ItemT]:
        """One page; 1 is the first. Raises NotFoundError past the end."""
        return run(self._pages.page(number))

    def count(self) -> int:
        """How many there are, as the server counts. One request."""
        return run(self._pages.count())

    def first(self) -> ItemT | None:
        """The first item in the list's order; None if it is empty. One request."""
        return run(self._pages.first())

    def pages(self) -> Iterator[Page[ItemT]]:
        """Page by page. Raises PaginationError for a `next` that can't be followed."""
        return _walk(self._pages.pages())

    def __iter__(self) -> Iterator[ItemT]:
        """Item by item. Each id comes once, even if the list moves while it is walked."""
        return _walk(aiter(self._pages))


U = TypeVar("U")


def _walk(items: AsyncGenerator[U, None]) -> Iterator[U]:
    try:
        while True:
            try:
                yield run(_next(items))
            except StopAsyncIteration:
                return
    finally:
        run(_close(items))


async def _next(items: AsyncGenerator[U, None]) -> U:
    return await anext(items)


async def _close(items: AsyncGenerator[U, None]) -> None:
    await items.aclose()
