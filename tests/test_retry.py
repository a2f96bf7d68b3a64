"""The retry policy: which wait, how often, how long, and after which error none at all."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.retry import (
    MAX_ASKED_SECONDS,
    Backoff,
    GiveUp,
    RetryOptions,
    RetryPolicy,
    names_result,
)

MADE = 1_800_000_000.0

seconds = st.floats(0.001, 1e7)
backoffs = st.builds(
    lambda first, factor, more: Backoff(
        first_seconds=first, factor=factor, cap_seconds=first * more
    ),
    seconds,
    st.floats(1, 50),
    st.floats(1, 1e6),
)
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 30),
    waits=st.lists(seconds, min_size=1, max_size=9).map(tuple) | backoffs,
    jitter=st.floats(0, 1),
    max_age_seconds=st.none() | seconds,
)
chances = st.floats(0, 1)
asked = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def mean(policy: RetryPolicy, tries: int) -> float:
    if isinstance(policy.waits, Backoff):
        return policy.waits.wait(tries)
    return (policy.waits * 30)[tries - 1] if tries <= len(policy.waits) else policy.waits[-1]


@given(policy=policies, data=st.data())
def test_any_policy_and_any_failures_end_within_attempts_and_age(
    policy: RetryPolicy, data: st.DataObject
) -> None:
    """No retry comes after max_age, none past the attempts, none before now."""
    now = MADE
    for tries in range(1, policy.attempts + 2):
        assert tries <= policy.attempts, "it went on past its attempts"
        now += data.draw(st.floats(0, 1000), label="the run took")
        verdict = policy.next_try(
            tries=tries,
            most=policy.attempts,
            since=MADE,
            now=now,
            chance=data.draw(chances),
            asked_seconds=data.draw(asked),
        )
        if isinstance(verdict, GiveUp):
            assert verdict.reason.startswith(f"failed at attempt {tries} of {policy.attempts}")
            assert tries == policy.attempts or "max_age" in verdict.reason
            return
        assert verdict >= now
        assert policy.max_age_seconds is None or verdict <= MADE + policy.max_age_seconds
        now = verdict


@given(policy=policies, tries=st.integers(1, 40), chance=chances)
def test_a_wait_stays_within_its_jitter(policy: RetryPolicy, tries: int, chance: float) -> None:
    middle = mean(policy, tries)
    wait = policy.delay(tries, chance)
    slack = 1e-9 * middle
    assert middle * (1 - policy.jitter) - slack <= wait <= middle * (1 + policy.jitter) + slack


@given(backoff=backoffs, tries=st.integers(1, 10_000))
def test_a_backoff_grows_up_to_its_cap(backoff: Backoff, tries: int) -> None:
    wait, later = backoff.wait(tries), backoff.wait(tries + 1)
    assert backoff.first_seconds <= wait <= later <= backoff.cap_seconds
    assert backoff.wait(1) == backoff.first_seconds


@given(policy=policies, wait=st.floats(allow_nan=False))
def test_a_wait_that_was_asked_for_is_obeyed_up_to_a_day(policy: RetryPolicy, wait: float) -> None:
    verdict = policy.next_try(tries=1, most=2, since=MADE, now=MADE, chance=0.5, asked_seconds=wait)
    obeyed = min(max(wait, 0.0), MAX_ASKED_SECONDS)
    if policy.max_age_seconds is not None and MADE + obeyed > MADE + policy.max_age_seconds:
        assert isinstance(verdict, GiveUp)
    else:
        assert verdict == MADE + obeyed


def test_full_jitter_reaches_from_nothing_to_double_and_none_is_exact() -> None:
    full, none = RetryPolicy(waits=(10.0,), jitter=1), RetryPolicy(waits=(10.0,), jitter=0)
    assert [full.delay(1, chance) for chance in (0, 0.5, 1)] == [0, 10, 20]
    assert {none.delay(1, chance) for chance in (0, 0.5, 1)} == {10}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"first_seconds": 5, "cap_seconds": 4}, "first = 5s and cap = 4s"),
        ({"first_seconds": 0}, "first = 0s"),
        ({"first_seconds": 5, "factor": 0.5}, "factor = 0.5: give 1 or more"),
        ({"first_seconds": 5, "factor": float("inf")}, "factor = inf"),
        ({"first_seconds": 5, "factor": float("nan")}, "factor = nan"),
    ],
)
def test_a_backoff_that_cannot_grow_is_refused(fields: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Backoff(**fields)


def test_each_part_is_inherited_by_itself() -> None:
    base = RetryPolicy(attempts=5, waits=(1.0,), jitter=0, max_age_seconds=60, final=(KeyError,))
    assert RetryOptions().over(base) == base
    own = RetryOptions(attempts=2, waits=Backoff(first_seconds=3), final=("ValueError",))
    assert own.over(base) == RetryPolicy(
        attempts=2,
        waits=Backoff(first_seconds=3),
        jitter=0,
        max_age_seconds=60,
        final=("ValueError",),
    )
    assert RetryOptions(jitter=0.0).over(RetryPolicy(jitter=0.5)).jitter == 0, "0 is not unset"


def _broken_json() -> json.JSONDecodeError:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    return caught.value


@pytest.mark.parametrize(
    ("final", "error", "is_final"),
    [
        ((), ValueError(), False),
        ((ValueError,), ValueError(), True),
        ((ValueError,), UnicodeError(), True),
        ((UnicodeError,), ValueError(), False),
        (("ValueError",), _broken_json(), True),
        (("JSONDecodeError",), _broken_json(), True),
        (("json.JSONDecodeError",), _broken_json(), True),
        (("json.decoder.JSONDecodeError",), _broken_json(), True),
        (("jso.JSONDecodeError",), _broken_json(), False),
        (("json.dec.JSONDecodeError",), _broken_json(), False),
        (("other.JSONDecodeError",), _broken_json(), False),
        (("builtins.ValueError",), _broken_json(), True),
        (("Error",), ValueError(), False),
        ((asyncio.CancelledError,), asyncio.CancelledError(), True),
        ((ValueError, KeyError), ExceptionGroup("", [ValueError(), KeyError()]), True),
        ((ValueError,), ExceptionGroup("", [ValueError(), OSError()]), False),
        ((ValueError,), ExceptionGroup("", [ExceptionGroup("", [UnicodeError()])]), True),
    ],
)
def test_an_error_is_final_by_class_or_name(
    final: tuple[type[BaseException] | str, ...], error: BaseException, is_final: bool
) -> None:
    assert RetryPolicy(final=final).is_final(error) == is_final


def test_a_group_in_a_group_in_a_group_costs_no_stack() -> None:
    error: Exception = ValueError()
    for _ in range(20_000):
        error = ExceptionGroup("", [error])
    assert RetryPolicy(final=(ValueError,)).is_final(error)
    while isinstance(error, ExceptionGroup):  # from the outside in: no deep recursion to free it
        (error,) = error.exceptions


def test_a_result_is_named_by_status_or_class() -> None:
    assert names_result((404,), "HTTPStatus", 404)
    assert names_result(("SSLError",), "SSLError", None)
    assert not names_result((404, "SSLError"), "HTTPStatus", 500)
    assert not names_result((), "HTTPStatus", None)
