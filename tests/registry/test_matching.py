"""Which event types a handler is for."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.patterns import compile_patterns
from receiver.registry import Registry


@pytest.mark.parametrize(
    ("pattern", "event_type", "fits"),
    [
        ("data_source.sync_failed", "data_source.sync_failed", True),
        ("data_source.sync_failed", "data_source.sync_faileds", False),
        ("data_source.*", "data_source.sync_failed", True),
        ("data_source.*", "data_source.a.b", True),
        ("data_source.*", "data_source.", True),
        ("data_source.*", "data_source", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("*.failed", "a.b.failed", True),
        ("*.failed", "a.b.failed.", False),
        ("a*c*e", "abcde", True),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a?", "ab", False),
        ("Push", "push", False),
    ],
)
def test_a_star_is_any_run_of_characters_and_the_rest_is_literal(
    pattern: str, event_type: str, fits: bool
) -> None:
    assert compile_patterns((pattern,))(event_type) is fits


@given(st.text(), st.text())
def test_a_type_with_a_star_after_it_fits_all_that_begins_so(start: str, rest: str) -> None:
    if "*" not in start:
        assert compile_patterns((f"{start}*",))(start + rest)


def test_many_stars_take_no_exponential_time() -> None:
    assert not compile_patterns(("*" * 50 + "x",))("a" * 5000)


def test_matching_keeps_the_order_of_files_and_lines(load: Callable[..., Registry]) -> None:
    registry = load(
        b="""
            from receiver import on

            @on("x.*")
            def second(event): ...

            @on("*")
            def third(event): ...
            """,
        a="""
            from receiver import on

            @on("x.y", "x.z")
            def first(event): ...
            """,
    )
    assert [h.name for h in registry.matching("x.y")] == ["a.first", "b.second", "b.third"]
    assert [h.name for h in registry.matching("other")] == ["b.third"]


def test_the_cache_of_matches_is_bounded(load: Callable[..., Registry]) -> None:
    registry = load(a='from receiver import on\n\n@on("*")\ndef any_event(event): ...\n')
    for number in range(3000):
        assert len(registry.matching(f"type.{number}")) == 1
    assert registry.matching.cache_info().currsize <= 1024
