"""What is kept of an exception: bounded and masked, whatever was raised, and made in no time."""

import doctest
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import traces
from receiver.notify.redact import Redactor
from receiver.traces import MAX_SECRET_CHARS, MAX_TRACEBACK_CHARS, error_text, error_trace, masked

SECRET = "planted-secret-0123456789"
REDACT = Redactor(secrets=[SECRET])


def raised(fail: Callable[[], Any]) -> BaseException:
    try:
        fail()
    except BaseException as error:
        return error
    raise AssertionError("it did not fail")


def trace(error: BaseException, *, own_file: str = "") -> str:
    return error_trace(error, REDACT, own_file=own_file)


def test_an_ordinary_one_looks_as_pythons_own() -> None:
    def fail() -> None:
        raise ValueError("no such row")

    lines = trace(raised(fail)).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-3].startswith(f'  File "{__file__}", line ')
    assert lines[-3].endswith("in fail")
    assert lines[-2:] == ['    raise ValueError("no such row")', "ValueError: no such row"]


def test_frames_of_the_own_file_are_left_out_at_the_beginning_only() -> None:
    error = raised(lambda: sys.getrecursionlimit() / 0)
    assert "File" not in trace(error, own_file=__file__)
    assert "ZeroDivisionError: division by zero" in trace(error, own_file=__file__)


def _plain() -> None:
    raise ValueError(f"no row for {SECRET}")


def _cause() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise ValueError("why") from error


def _context() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError:
        raise ValueError("then this")  # noqa: B904 - the chain that nobody meant to make


def _note() -> None:
    error = ValueError("x")
    error.add_note(f"with {SECRET}")
    raise error


def _group() -> None:
    raise ExceptionGroup(SECRET, [ValueError(SECRET), ExceptionGroup("in", [KeyError(SECRET)])])


def _repr() -> None:
    raise ValueError({"password": SECRET}, [SECRET], SECRET.encode())


def _source_line() -> None:
    raise ValueError("planted-secret-0123456789"[:0])


def _in_a_class_name() -> None:
    raise type(f"Odd{SECRET}", (Exception,), {})


def _import() -> None:
    __import__(f"a_package_{SECRET}")


@pytest.mark.parametrize(
    "fail",
    [_plain, _cause, _context, _note, _group, _repr, _source_line, _in_a_class_name, _import],
)
def test_no_secret_is_in_it(fail: Callable[[], None]) -> None:
    text = trace(raised(fail))
    assert SECRET not in text
    assert "***" in text, "it was there, and is masked"


def test_a_chain_is_told_oldest_first() -> None:
    text = trace(raised(_cause))
    assert text.index("KeyError: ") < text.index("direct cause") < text.index("ValueError: why")


def test_what_was_suppressed_is_left_out() -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    assert "KeyError" not in trace(raised(fail)).replace('raise KeyError("inner")', "")


def test_notes_and_groups_are_told() -> None:
    error = ExceptionGroup("both", [ValueError("a"), KeyError("b")])
    error.add_note("look at this")
    lines = trace(error).splitlines()
    assert lines == [
        "ExceptionGroup: both (2 sub-exceptions)",
        "look at this",
        "  1 of 2:",
        "    ValueError: a",
        "  2 of 2:",
        "    KeyError: 'b'",
    ]


def _huge_text() -> None:
    raise ValueError("x" * 100_000_000)


def _huge_key() -> None:
    raise KeyError("x" * 100_000_000)


def _huge_arguments() -> None:
    raise ValueError(b"x" * 100_000_000, "y" * 100_000_000)


def _deep() -> None:
    def down(depth: int) -> None:
        if depth == 0:
            raise ValueError("the bottom")
        down(depth - 1)

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(200_000)
    try:
        down(100_000)
    finally:
        sys.setrecursionlimit(before)


def _long_chain() -> None:
    error: Exception = ValueError("the first")
    for number in range(20_000):
        later = ValueError(f"number {number}")
        later.__context__ = error
        error = later
    raise error


def _wide_group() -> None:
    raise ExceptionGroup("many", [ValueError(str(number)) for number in range(50_000)])


def _many_notes() -> None:
    error = ValueError("x")
    for _ in range(50_000):
        error.add_note("n" * 1000)
    raise error


def _groups_of_groups() -> None:
    error: Exception = ValueError("in the middle")
    for _ in range(12):
        error = ExceptionGroup("g", [error] * 5)
    raise error


def _circle() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def _many_tokens() -> None:
    raise ValueError("-eyJ" * 1_000_000)


@pytest.mark.parametrize(
    "fail",
    [_huge_text, _huge_key, _huge_arguments, _deep, _long_chain, _wide_group, _many_notes,
     _groups_of_groups, _circle, _many_tokens],
)  # fmt: skip
def test_it_is_bounded_and_takes_no_time(fail: Callable[[], None]) -> None:
    error = raised(fail)
    begun = time.thread_time()
    text = trace(error)
    masked(error_text(error), REDACT, 2048)
    seconds = time.thread_time() - begun
    assert len(text) <= MAX_TRACEBACK_CHARS
    assert type(error).__name__ in text
    assert seconds < 0.5, "generous: it is some milliseconds, 60 for the 100,000 frames"
    while isinstance(error, ExceptionGroup):  # from the outside in: no deep recursion to free it
        error = error.exceptions[0]


def test_of_many_frames_the_first_and_the_last_are_told() -> None:
    text = trace(raised(_deep))
    assert "in raised" in text
    assert "frames left out" in text
    assert text.endswith("ValueError: the bottom\n")


def test_a_text_that_cannot_be_made_is_told_so() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("a bug in a bug")

    assert error_text(MuteError()) == "(its text can't be made)"
    assert "MuteError: (its text can't be made)" in trace(MuteError())


@given(
    before=st.integers(0, 3000),
    times=st.integers(0, 3),
    after=st.integers(0, 60_000),
    most=st.integers(1, 3000),
)
def test_a_cut_never_shows_a_part_of_a_secret(
    before: int, times: int, after: int, most: int
) -> None:
    text = "x" * before + SECRET * times + "y" * after
    clean = masked(text, REDACT, most)
    assert len(clean) <= most
    assert not any(clean.endswith(SECRET[:length]) for length in range(3, len(SECRET)))
    if len(text) <= most:
        assert clean == REDACT(text)


@pytest.mark.parametrize("offset", range(-30, 31, 5))
def test_a_secret_where_the_window_ends_does_not_show(offset: int) -> None:
    text = "x" * (2048 + MAX_SECRET_CHARS + offset) + SECRET + "y" * 100_000
    clean = masked(text, REDACT, 2048)
    assert set(clean) == {"x"}
    assert len(clean) > 2000
    shrunk = SECRET * 5000
    assert set(masked(shrunk, REDACT, 2048)) <= {"*"}


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(traces).failed == 0
