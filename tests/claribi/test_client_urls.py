"""Nothing that a caller or a server says leads a request, and its credentials, astray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claribi import ConfigurationError, PaginationError
from claribi.urls import checked_id, normalise_base_url, query_of_next, relative_path

BASE = "https://claribi.com/api/"


@pytest.mark.parametrize(
    ("given_url", "base"),
    [
        ("https://claribi.com", BASE),
        ("https://claribi.com/", BASE),
        ("https://claribi.com/api", BASE),
        (" https://claribi.com/api// ", BASE),
        ("https://claribi.com/api/v1", "https://claribi.com/api/v1/"),
        ("https://claribi.com:8443/api/", "https://claribi.com:8443/api/"),
        ("http://localhost:8001", "http://localhost:8001/api/"),
        ("http://127.8.9.1/api/", "http://127.8.9.1/api/"),
        ("http://[::1]:80/api/", "http://[::1]:80/api/"),
    ],
)
def test_base_url_is_normalised(given_url: str, base: str) -> None:
    assert normalise_base_url(given_url) == base
    assert normalise_base_url(base) == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "claribi.com/api/",
        "ftp://claribi.com/",
        "http://claribi.com/api/",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "https://user:pw@claribi.com/api/",
        "https://claribi.com/api/?x=1",
        "https://claribi.com/api/#x",
        "https://claribi.com:port/",
        "https://[::1/",
        "https:///api/",
    ],
)
def test_unsafe_base_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        normalise_base_url(url)


def test_base_url_error_does_not_quote_a_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        normalise_base_url("https://user:hunter2@claribi.com/")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [1, "1", 2**70, "0042"])
def test_ids_are_numbers(value: int | str) -> None:
    assert checked_id(value) == int(value)


@pytest.mark.parametrize("value", [0, -1, "-1", "", "1/../2", "1?x=1", "٣", "1 ", True, 1.0, None])
def test_what_is_no_id_is_refused(value: int) -> None:
    with pytest.raises(ConfigurationError):
        checked_id(value)


@given(st.text())
def test_no_text_becomes_anything_but_digits(value: str) -> None:
    try:
        assert str(checked_id(value)).isdigit()
    except ConfigurationError:
        assert not (value.isascii() and value.isdigit() and int(value) > 0)


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("reports/1/", "reports/1/"),
        ("/api/reports/1/", "reports/1/"),
        ("/reports/1", "reports/1"),
        ("v1/auth/verify/", "v1/auth/verify/"),
    ],
)
def test_paths_of_raw_requests(path: str, relative: str) -> None:
    assert relative_path(path) == relative


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//evil.example/",
        "https://evil.example/",
        "../admin/",
        "reports/../../admin/",
        "reports/%2e%2e/admin/",
        "reports//1/",
        "./reports/",
        "reports/1/?x=1",
        "reports/1/#x",
        "reports\\1",
        "reports/\n",
        "user@evil.example/",
        "bericht/ü/",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError):
        relative_path(path)


@pytest.mark.parametrize(
    ("link", "query"),
    [
        (f"{BASE}reports/?page=2&status=draft", "page=2&status=draft"),
        ("https://claribi.com:443/api/reports/?page=2", "page=2"),
        ("/api/reports/?page=2", "page=2"),
        ("?page=2", "page=2"),
        ("https://CLARIBI.com/somewhere/else/?page=2", "page=2"),
    ],
)
def test_of_next_only_the_query_is_followed(link: str, query: str) -> None:
    assert query_of_next(link, BASE) == query


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api/reports/?page=2",
        "http://claribi.com/api/reports/?page=2",
        "https://claribi.com:8443/api/reports/?page=2",
        "http://claribi.com:443/api/reports/?page=2",
        "https://claribi.com.evil.example/?page=2",
        "https://claribi.com@evil.example/?page=2",
        "https://user@claribi.com/?page=2",
        "//evil.example/?page=2",
        "https://[::1/?page=2",
        "https://claribi.com:port/?page=2",
        "javascript:alert(1)",
    ],
)
def test_next_that_leaves_the_origin_is_refused(link: str) -> None:
    with pytest.raises(PaginationError):
        query_of_next(link, BASE)
