"""Lists: filters, search, order and pages, by example and by law."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_server import Running, law

from claribi.sandbox.bodies import DataSourceQuery, ListQuery
from claribi.sandbox.errors import ApiError
from claribi.sandbox.lists import paginate, select


def names(served: Running, path: str, **params: Any) -> list[str]:
    """The names that a list gives for these parameters."""
    answer = served.api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["results"]]


def ids(served: Running, path: str, **params: Any) -> list[int]:
    """The ids that a list gives for these parameters."""
    return [one["id"] for one in served.api.get(path, params=params).json()["results"]]


def test_data_sources_are_filtered(served: Running) -> None:
    assert names(served, "data-sources/", status="paused") == ["Old HubSpot"]
    assert names(served, "data-sources/", status="error") == ["Legacy MySQL"]
    assert ids(served, "data-sources/", type="api") == [2, 4, 8]
    assert ids(served, "data-sources/", type="api", status="active") == [2, 4]
    assert ids(served, "data-sources/", type="cloud", status="paused") == []


def test_dashboards_are_filtered_by_workspace(served: Running) -> None:
    assert ids(served, "dashboards/", workspace=4) == [6, 11, 12]
    assert ids(served, "dashboards/", workspace=99) == []


def test_reports_are_filtered_by_status(served: Running) -> None:
    assert ids(served, "reports/", status="draft") == [4]
    assert ids(served, "reports/", status="scheduled") == [11, 14]


def test_search_looks_at_names_and_descriptions_for_every_word_in_any_case(
    served: Running,
) -> None:
    assert names(served, "dashboards/", search="revenue") == [
        "Revenue Overview",
        "Executive Summary",  # has it in its description
    ]
    assert names(served, "dashboards/", search="BOARD revenue") == ["Executive Summary"]
    assert names(served, "reports/", search="sales weekly") == ["Weekly Sales Summary"]
    assert names(served, "data-sources/", search="nothing like it") == []


def test_lists_are_ordered(served: Running) -> None:
    assert ids(served, "data-sources/") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert ids(served, "data-sources/", ordering="-created_at") == [8, 7, 6, 5, 4, 3, 2, 1]
    assert ids(served, "data-sources/", ordering="type,-id") == [8, 4, 2, 6, 5, 1, 7, 3]
    never_last = ids(served, "data-sources/", ordering="-last_synced_at")
    assert never_last[0] == 1
    assert never_last[-1] == 8


def test_lists_are_cut_by_creation_date(served: Running) -> None:
    assert ids(served, "data-sources/", created_after="2025-05-30T07:25:00Z") == [7, 8]
    assert ids(served, "data-sources/", created_before="2025-04-01T11:15:00+02:00") == [1, 2]
    between = {"created_after": "2025-04-01", "created_before": "2025-04-30T00:00:00"}
    assert ids(served, "data-sources/", **between) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "101"}, "page_size"),
        ({"page_size": "9" * 5000}, "page_size"),
        ({"status": "syncing"}, "status"),
        ({"status": ""}, "status"),
        ({"type": "blob"}, "type"),
        ({"ordering": "-password"}, "ordering"),
        ({"ordering": "--name"}, "ordering"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": "2025-13-01"}, "created_before"),
        ({"created_before": "1752566400"}, "created_before"),
    ],
)
def test_wrong_parameters_are_told_by_name(
    served: Running, params: dict[str, str], field: str
) -> None:
    answer = served.api.get("data-sources/", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"] == "validation_error"
    assert list(answer.json()["detail"]) == [field]


def test_unknown_parameters_are_ignored_and_the_last_of_several_counts(served: Running) -> None:
    assert len(ids(served, "data-sources/", colour="red", search="", ordering="")) == 8
    assert served.api.get("data-sources/?page=7&page=1").json()["count"] == 8


def test_past_the_end_is_a_404_but_an_empty_first_page_is_not(served: Running) -> None:
    answer = served.api.get("data-sources/", params={"page": 2})
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"
    empty = served.api.get("data-sources/", params={"search": "nothing like it"})
    assert empty.json() == {"count": 0, "next": None, "previous": None, "results": []}


def test_links_lead_through_all_pages_and_back(served: Running) -> None:
    url: str | None = (
        f"{served.origin}/api/data-sources/?ordering=-name&page_size=3&search=&x=%C3%A9"
    )
    seen: list[list[str]] = []
    back: list[str | None] = []
    while url:
        assert url.startswith(f"{served.origin}/api/data-sources/?")
        assert parse_qs(urlsplit(url).query)["ordering"] == ["-name"]
        page = served.api.get(url).json()
        seen.append([one["name"] for one in page["results"]])
        back.append(page["previous"])
        url = page["next"]
    assert [len(page) for page in seen] == [3, 3, 2]
    assert [name for page in seen for name in page] == names(
        served, "data-sources/", ordering="-name"
    )
    assert back[0] is None
    assert back[2] is not None
    assert served.api.get(back[2]).json()["results"][0]["name"] == seen[1][0]


def test_links_stay_on_the_origin_that_the_caller_used(served: Running) -> None:
    headers = {"Host": "claribi.test:8443", "X-API-Key": served.sandbox.api_key}
    page = httpx2.get(
        f"{served.origin}/api/reports/?page_size=1", headers=headers, trust_env=False
    ).json()
    assert page["next"] == "http://claribi.test:8443/api/reports/?page_size=1&page=2"


@dataclass
class Thing:
    """Something that could be listed."""

    id: int
    name: str
    status: str
    type: str
    engine: str
    created_at: datetime
    last_synced_at: datetime | None
    description: str = ""


NOON = datetime(2025, 7, 15, 12, tzinfo=UTC)
MOMENTS = st.integers(-3, 3).map(lambda days: NOON + timedelta(days=days))
THINGS = st.lists(
    st.builds(
        Thing,
        id=st.integers(1, 1000),
        name=st.text("abAB é", max_size=3),
        status=st.sampled_from(["active", "paused", "error"]),
        type=st.sampled_from(["database", "api"]),
        engine=st.sampled_from(["x", "y"]),
        created_at=MOMENTS,
        last_synced_at=st.none() | MOMENTS,
    ),
    max_size=25,
    unique_by=lambda thing: thing.id,
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["", "-"]), st.sampled_from(DataSourceQuery.sort_fields)),
    max_size=3,
).map(lambda parts: ",".join(sign + field for sign, field in parts))


def all_pages(things: list[Thing], query: ListQuery) -> list[Thing]:
    """What one sees who follows `next` from the first page."""
    chosen, seen, page = select(things, query), [], query.model_copy(update={"page": 1})
    while True:
        cut = paginate(chosen, page, lambda thing: thing.id, url="http://h/x/", params=[("a", "b")])
        assert cut.count == len(chosen)
        assert len(cut.results) <= query.page_size
        assert (cut.previous is None) == (page.page == 1)
        seen += cut.results
        if cut.next is None:
            by_id = {thing.id: thing for thing in things}
            return [by_id[number] for number in seen]
        link = dict(parse_qsl(urlsplit(cut.next).query))
        assert link == {"a": "b", "page": str(page.page + 1)}
        page = query.model_copy(update={"page": int(link["page"])})


@law
@given(THINGS, ORDERS, st.integers(1, 10))
def test_pages_hold_every_item_once_and_in_order(
    things: list[Thing], ordering: str, page_size: int
) -> None:
    query = DataSourceQuery(page_size=page_size, ordering=ordering)
    seen = all_pages(things, query)
    assert [thing.id for thing in seen] == [thing.id for thing in select(things, query)]
    assert sorted(thing.id for thing in seen) == sorted(thing.id for thing in things)


@law
@given(THINGS, st.sampled_from(DataSourceQuery.sort_fields), st.booleans())
def test_ordering_sorts_known_values_and_puts_unknown_ones_last(
    things: list[Thing], field: str, descending: bool
) -> None:
    seen = select(things, DataSourceQuery(ordering=f"-{field}" if descending else field))
    values = [getattr(thing, field) for thing in seen]
    known = [value for value in values if value is not None]
    assert values[len(known) :] == [None] * (len(values) - len(known))
    keys = [value.casefold() if isinstance(value, str) else value for value in known]
    assert keys == sorted(keys, reverse=descending)
    for earlier, later in pairwise(seen):
        if getattr(earlier, field) == getattr(later, field) and field != "id":
            assert earlier.id < later.id


@law
@given(THINGS, st.none() | MOMENTS, st.none() | MOMENTS, st.sampled_from(["active", None]))
def test_filters_leave_exactly_what_fits(
    things: list[Thing], after: datetime | None, before: datetime | None, status: Any
) -> None:
    query = DataSourceQuery(created_after=after, created_before=before, status=status)
    kept = {thing.id for thing in select(things, query)}
    for thing in things:
        fits = (
            (after is None or thing.created_at >= after)
            and (before is None or thing.created_at <= before)
            and (status is None or thing.status == status)
        )
        assert (thing.id in kept) == fits


@law
@given(THINGS, st.integers(1, 40), st.integers(1, 10))
def test_a_page_exists_exactly_up_to_the_end(
    things: list[Thing], page: int, page_size: int
) -> None:
    query = ListQuery(page=page, page_size=page_size)
    exists = page == 1 or (page - 1) * page_size < len(things)
    context = nullcontext() if exists else pytest.raises(ApiError, match="404 not_found")
    with context:
        paginate(things, query, lambda thing: thing.id, url="http://h/", params=[])
