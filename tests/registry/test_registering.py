"""`@on` itself: what it accepts, and how it refuses."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import HandlerLoadError
from receiver.rate import Rate
from receiver.registry import on
from receiver.registry.decorator import MARK

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
    assert (registration.attempts, registration.timeout_seconds, registration.key) == (None,) * 3
    assert (registration.concurrency, registration.schedule_seconds) == (None, None)
    assert registration.rate is None


def test_all_options_are_kept() -> None:
    registration = register(
        "a.*", "b", attempts=5, key="data.id", name="mine", concurrency=2, schedule=["5s", 30],
        rate="30/m burst 5",
    )  # fmt: skip
    assert registration.rate == Rate(30, 60, 5)
    assert registration.patterns == ("a.*", "b")
    assert (registration.attempts, registration.key, registration.name) == (5, "data.id", "mine")
    assert (registration.concurrency, registration.schedule_seconds) == (2, (5, 30))


@pytest.mark.parametrize(
    ("patterns", "options", "text"),
    [
        (["a"], {"atempts": 3}, "did you mean 'attempts'"),
        (["a"], {"colour": 3}, "it has attempts, timeout, key, name, concurrency, rate, schedule"),
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
