"""The settings of quiet hours, grouping and throttling: what they mean, and what is wrong."""

from typing import Any

import pytest

from receiver.errors import ConfigError
from receiver.holds import NoiseOptions
from receiver.model import Severity
from receiver.notify.outbox import channel_rules
from receiver.rate import Rate
from receiver.settings import Settings

NIGHT = {"from": "22:00", "until": "07:00"}


def channel(**keys: Any) -> Settings:
    return Settings.from_dict({"channels": {"ops": {"urls": ["file://x"], **keys}}})


def test_a_channel_says_how_its_messages_are_held() -> None:
    settings = channel(
        quiet_hours={**NIGHT, "days": ["Friday", "sat"], "timezone": "Europe/Berlin",
                     "unless": "critical"},
        group_by="event.action", wait="1s", throttle="5/10m", throttle_by=["data.id"],
    )  # fmt: skip
    rules = channel_rules(settings.channels["ops"])
    assert rules.unless is Severity.CRITICAL
    assert rules.quiet is not None
    assert rules.quiet.days == {4, 5}
    assert rules.noise.group_by == ("action",)
    assert (rules.noise.wait_ms, rules.noise.every_ms) == (1000, 300_000)
    assert rules.noise.throttle == Rate(5, 600)


def test_a_route_leaves_to_the_channel_what_it_does_not_say() -> None:
    settings = Settings.from_dict({
        "channels": {"ops": {"urls": ["file://x"], "group_by": ["type"], "wait": "9s"}},
        "routes": [{"notify": "ops", "every": "1h"}],
    })  # fmt: skip
    options = settings.routes[0].noise
    assert options == NoiseOptions(every_ms=3_600_000)
    rules = options.over(channel_rules(settings.channels["ops"]).noise)
    assert (rules.group_by, rules.wait_ms, rules.every_ms) == (("type",), 9000, 3_600_000)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"quiet_hours": {**NIGHT, "timezone": "Europe/Berlni"}}, 'did you mean "Europe/Berlin"?'),
        ({"quiet_hours": {**NIGHT, "timezone": "Berlin"}}, 'did you mean "Europe/Berlin"?'),
        ({"quiet_hours": {**NIGHT, "timezone": "New York"}}, 'did you mean "America/New_York"?'),
        ({"quiet_hours": {"from": "22:00"}}, "quiet_hours.until: is missing"),
        ({"quiet_hours": {**NIGHT, "form": "1"}}, 'did you mean "from"?'),
        ({"quiet_hours": {**NIGHT, "until": "25:00"}}, 'write a time of day such as "22:00"'),
        ({"quiet_hours": {**NIGHT, "days": ["tomorrow"]}}, "write days as mon, tue"),
        ({"quiet_hours": {"from": "00:00", "until": "00:00"}}, "never end"),
        ({"group_by": ["typ"]}, '"typ" is no field; write "type"'),
        ({"wait": "1s"}, "does nothing without group_by"),
        ({"throttle_by": ["type"]}, "does nothing without throttle"),
        ({"throttle": "5/h burst 2"}, "has no burst"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as found:
        channel(**keys)
    (problem,) = found.value.problems
    assert problem.startswith("channels.ops.")
    assert says in problem
