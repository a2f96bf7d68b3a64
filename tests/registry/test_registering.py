"""`@on` itself: what it accepts, and how it refuses."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import HandlerLoadError
from receiver.rate import Rate
from receiver.registry import on
from receiver.registry.decorator import MARK
from receiver.retry import Backoff, RetryOptions

HERE = Path(__file__).name


def sample(event: dict[str, Any]) -> None:
    """Nothing."""


def register(*patterns: Any, **options: Any) -> Any:
    def fresh(event: dict[str, Any]) -> None:
        """Nothing."""

    on(*patterns, **options)(fresh)
    return getattr(fresh, MARK)[0]


def test_the_function_comes_back_unchanged() -> None:
    assert on("a.b")(sample) is sample


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30s", 30), ("250ms", 0.25), ("1h30m", 5400), (2.5, 2.5), (timedelta(minutes=1), 60)],
)
def test_durations_come_in_many_forms(value: Any, seconds: float) -> None:
    assert register("a", timeout=value).timeout_seconds == seconds


def test_options_are_none_when_the_settings_decide() -> None:
    registration = register("a")
    assert (registration.timeout_seconds, registration.key) == (None, None)
    assert (registration.concurrency, registration.retry) == (None, RetryOptions())
    assert registration.rate is None


def test_all_options_are_kept() -> None:
    registration = register(
        "a.*", "b", attempts=5, key="data.id", name="mine", concurrency=2, schedule=["5s", 30],
        rate="30/m burst 5",
    )  # fmt: skip
    assert registration.rate == Rate(30, 60, 5)
    assert registration.patterns == ("a.*", "b")
    assert (registration.key, registration.name) == ("data.id", "mine")
    assert registration.concurrency == 2
    assert registration.retry == RetryOptions(attempts=5, waits=(5, 30))


def test_the_whole_policy_can_be_given() -> None:
    registration = register(
        "a",
        backoff={"first": "5s", "factor": 3, "cap": "1h"},
        jitter=0,
        max_age="6h",
        final=(ValueError, "httpx2.HTTPStatusError"),
    )
    assert registration.retry == RetryOptions(
        waits=Backoff(first_seconds=5, factor=3, cap_seconds=3600),
        jitter=0,
        max_age_seconds=21_600,
        final=(ValueError, "httpx2.HTTPStatusError"),
    )
    short = register("a", backoff={"first": 1}, final=KeyError)
    assert short.retry.waits == Backoff(first_seconds=1, factor=2, cap_seconds=43_200)
    assert short.retry.final == (KeyError,)


@pytest.mark.parametrize(
    ("patterns", "options", "text"),
    [
        (["a"], {"atempts": 3}, "did you mean 'attempts'"),
        (
            ["a"],
            {"colour": 3},
            "it has attempts, timeout, key, on_retry, name, concurrency, rate, schedule",
        ),
        (["a"], {"attempts": 0}, "attempts = 0: give a whole number"),
        (["a"], {"attempts": True}, "give a whole number"),
        (["a"], {"concurrency": 1.5}, "concurrency = 1.5: give a whole number"),
        (["a"], {"rate": "fast"}, "rate = 'fast': write a rate such as"),
        (["a"], {"rate": 3}, "rate = 3: write a rate such as"),
        (["a"], {"timeout": "soon"}, "timeout = 'soon': write a duration"),
        (["a"], {"timeout": 0}, "timeout = 0: give more than 0"),
        (["a"], {"timeout": "-5s"}, "write a duration"),
        (["a"], {"schedule": "5s"}, "schedule: give a list"),
        (["a"], {"schedule": []}, "schedule: give a list"),
        (["a"], {"schedule": ["5s", "x"]}, "schedule = 'x': write a duration"),
        (["a"], {"schedule": ["5s"], "backoff": {"first": "5s"}}, "give one of them"),
        (["a"], {"backoff": "5s"}, "backoff = '5s': give its first wait, like {"),
        (["a"], {"backoff": {"cap": "5s"}}, "give its first wait"),
        (["a"], {"backoff": {"first": "x"}}, "backoff: first = 'x': write a duration"),
        (["a"], {"backoff": {"first": 0}}, "backoff: first = 0: give more than 0"),
        (["a"], {"backoff": {"first": 1, "fctor": 2}}, "backoff: there is no option 'fctor'; did"),
        (["a"], {"backoff": {"first": 1, "factor": "2"}}, "backoff: factor = '2': give a number"),
        (["a"], {"backoff": {"first": 1, "factor": 0.5}}, "backoff: factor = 0.5: give 1 or more"),
        (["a"], {"backoff": {"first": "2h", "cap": "1h"}}, "first = 2h and cap = 1h: give"),
        (["a"], {"jitter": 1.5}, "jitter = 1.5: give a fraction of the wait, 0 to 1"),
        (["a"], {"jitter": True}, "jitter = True: give a fraction"),
        (["a"], {"jitter": float("nan")}, "jitter = nan: give a fraction"),
        (["a"], {"max_age": 0}, "max_age = 0: give more than 0"),
        (["a"], {"max_age": "old"}, "max_age = 'old': write a duration"),
        (["a"], {"final": int}, "final: <class 'int'> is no error; give exception classes"),
        (["a"], {"final": ["Key Error"]}, "final: 'Key Error' is no error"),
        (["a"], {"final": [ValueError()]}, "final: ValueError() is no error"),
        (["a"], {"finl": ValueError}, "there is no option 'finl'; did you mean 'final'?"),
        (["a"], {"key": "id", "on_retry": "skip"}, 'on_retry = \'skip\': give "hold" or "step'),
        (["a"], {"on_retry": "hold"}, "on_retry says what happens to a key; give `key` as well"),
        (["a"], {"key": ""}, "give a dotted path"),
        (["a"], {"key": "data..id"}, "give a dotted path"),
        (["a"], {"key": "/data/id"}, "give a dotted path"),
        (["a"], {"key": 7}, "give a dotted path"),
        (["a"], {"name": "ops/slack"}, "can't be a handler's name"),
        ([""], {}, "is no event type pattern"),
        (["a b"], {}, "is no event type pattern"),
        ([None], {}, "is no event type pattern"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(
    patterns: list[Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(HandlerLoadError) as caught:
        on(*patterns, **options)
    assert text in str(caught.value)
    assert f"{HERE}:" in str(caught.value)


def test_only_functions_are_registered() -> None:
    with pytest.raises(HandlerLoadError, match="@on goes on a function"):
        on("a")(len)
