"""Lazy lists: walked over the sandbox, and over servers that misbehave."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from client_faces import Face
from client_server import Stage, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from claribi import (
    AsyncClariBI,
    ClariBI,
    ConfigurationError,
    NotFoundError,
    PaginationError,
)
from claribi.pages import MAX_STALE_PAGES


def test_walk_visits_every_item_page_by_page(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    sources = face.run(lambda: client.data_sources.list(page_size=3, ordering="name"))
    assert len(sources) == 8
    assert [one.name for one in sources] == sorted((s.name for s in sources), key=str.casefold)
    pages = [one.query.get("page") for one in stage.seen]
    assert pages == [None, "2", "3"]
    assert all(one.query["ordering"] == "name" for one in stage.seen)


def test_nothing_is_fetched_before_it_is_walked(face: Face, stage: Stage) -> None:
    face.client(**stage.key).data_sources.list()
    assert stage.seen == []


def test_breaking_off_fetches_no_further_page(stage: Stage) -> None:
    with ClariBI(**stage.key) as client:
        for _ in client.data_sources.list(page_size=1):
            break
    assert len(stage.seen) == 1


def test_async_walk_may_be_broken_off(stage: Stage) -> None:
    async def main() -> None:
        async with AsyncClariBI(**stage.key) as client:
            async for _ in client.data_sources.list(page_size=1):
                break

    asyncio.run(main())
    assert len(stage.seen) == 1


def test_list_can_be_walked_twice(face: Face, stage: Stage) -> None:
    sources = face.client(**stage.key).data_sources.list(page_size=5)
    assert [s.id for s in face.run(lambda: sources)] == [s.id for s in face.run(lambda: sources)]


def test_page_count_first(face: Face, stage: Stage) -> None:
    sources = face.client(**stage.key).data_sources.list(page_size=3)
    assert len(face.run(lambda: sources.page(3)).results) == 2
    assert face.run(sources.count) == 8
    assert face.run(sources.first).id == 1
    assert [one.query["page_size"] for one in stage.seen] == ["3", "1", "1"]
    with pytest.raises(NotFoundError):
        face.run(lambda: sources.page(4))


def test_first_of_an_empty_list_is_none(face: Face, stage: Stage) -> None:
    sources = face.client(**stage.key).data_sources.list(search="no such source anywhere")
    assert face.run(sources.first) is None
    assert face.run(lambda: sources) == []


def test_start_at_a_later_page(face: Face, stage: Stage) -> None:
    sources = face.client(**stage.key).data_sources.list(page=2, page_size=3, ordering="id")
    assert [s.id for s in face.run(lambda: sources)] == [4, 5, 6, 7, 8]
    assert face.run(sources.first).id == 4


def test_pages_are_given_whole(face: Face, stage: Stage) -> None:
    sources = face.client(**stage.key).data_sources.list(page_size=3)
    assert [len(page.results) for page in walk_pages(face, sources)] == [3, 3, 2]


def walk_pages(face: Face, pages: Any) -> list[Any]:
    if face.name == "sync":
        return list(pages.pages())
    found: list[Any] = face.run(pages.pages)
    return found


@pytest.mark.parametrize(
    "options", [{"page": 0}, {"page": -1}, {"page_size": 0}, {"page_size": 101}], ids=str
)
def test_options_out_of_range_are_refused_here(options: Any, stage: Stage) -> None:
    with ClariBI(**stage.key) as client, pytest.raises(ConfigurationError):
        client.reports.list(**options)
    with ClariBI(**stage.key) as client, pytest.raises(ConfigurationError):
        client.reports.list().page(0)
    assert stage.seen == []


def test_moments_are_sent_as_utc(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    moment = datetime(2025, 7, 15, 10, tzinfo=timezone(timedelta(hours=2)))
    face.run(client.reports.list(created_after=moment).first)
    assert stage.seen[-1].query["created_after"] == "2025-07-15T08:00:00Z"
    with pytest.raises(ConfigurationError, match="created_after must be an aware"):
        face.run(client.reports.list(created_after=datetime(2025, 7, 15)).first)  # noqa: DTZ001


def test_unknown_parameters_pass_through(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    face.run(client.reports.list(extra_query={"owner": "me"}).first)
    assert stage.seen[-1].query["owner"] == "me"


# Servers that misbehave

Answer = Callable[[int, str], dict[str, Any]]
"""Page number and base URL → a page."""


class Lists:
    def __init__(self) -> None:
        self.answer: Answer = lambda _page, _url: {}
        self.app = Starlette(routes=[Route("/api/reports/", self._reply)])

    async def _reply(self, request: Request) -> JSONResponse:
        page = int(request.query_params.get("page", "1"))
        body = self.answer(page, str(request.base_url))
        return JSONResponse(body or {"error": "not_found"}, 200 if body else 404)


@pytest.fixture(scope="module")
def lists() -> Iterator[tuple[str, Lists]]:
    one = Lists()
    with serve(one.app) as url:
        yield url, one


def page_of(ids: list[int], following: str | None) -> dict[str, Any]:
    items = [{"id": number, "name": str(number), "status": "draft"} for number in ids]
    return {"count": 999, "next": following, "previous": None, "results": items}


def walk(face: Face, lists: tuple[str, Lists], answer: Answer) -> list[int]:
    url, server = lists
    server.answer = answer
    client = face.client(base_url=url, api_key="k", retries=0)
    return [report.id for report in face.run(client.reports.list)]


def test_next_to_another_host_is_refused(face: Face, lists: tuple[str, Lists]) -> None:
    with pytest.raises(PaginationError, match=r"evil\.example"):
        walk(face, lists, lambda p, _: page_of([p], "https://evil.example/api/reports/?page=2"))


def test_path_of_next_is_ignored(face: Face, lists: tuple[str, Lists]) -> None:
    def answer(page: int, url: str) -> dict[str, Any]:
        return page_of([page], f"{url}admin/delete-all/?page={page + 1}" if page < 3 else None)

    assert walk(face, lists, answer) == [1, 2, 3]


def test_next_that_repeats_itself_is_refused(face: Face, lists: tuple[str, Lists]) -> None:
    with pytest.raises(PaginationError, match="never end"):
        walk(face, lists, lambda p, _: page_of([p], "?page=2"))


def test_pages_that_turn_in_a_circle_are_refused(face: Face, lists: tuple[str, Lists]) -> None:
    with pytest.raises(PaginationError, match="never end"):
        walk(face, lists, lambda p, _: page_of([p], f"?page={p % 3 + 1}"))


def test_pages_without_news_are_refused(face: Face, lists: tuple[str, Lists]) -> None:
    with pytest.raises(PaginationError, match="nothing new"):
        walk(face, lists, lambda p, _: page_of([1], f"?page={p + 1}"))


def test_items_that_move_come_once(face: Face, lists: tuple[str, Lists]) -> None:
    """While the list is walked, new items push old ones onto later pages."""
    pages = {1: [9, 8], 2: [8, 7], 3: [8, 7], 4: [7, 6]}
    assert len(pages) - 1 <= MAX_STALE_PAGES

    def answer(page: int, _: str) -> dict[str, Any]:
        return page_of(pages[page], f"?page={page + 1}" if page < 4 else None)

    assert walk(face, lists, answer) == [9, 8, 7, 6]


def test_list_that_shrinks_ends(face: Face, lists: tuple[str, Lists]) -> None:
    assert walk(face, lists, lambda p, _: page_of([p], "?page=2") if p == 1 else {}) == [1]


def test_list_that_is_not_there_is_an_error(face: Face, lists: tuple[str, Lists]) -> None:
    with pytest.raises(NotFoundError):
        walk(face, lists, lambda _page, _url: {})
