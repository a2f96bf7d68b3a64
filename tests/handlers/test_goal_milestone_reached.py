from collections.abc import Callable
from typing import Any

import pytest

from receiver.testing import HandlerRun

HANDLER = "goal_milestone_reached.celebrate"
Run = Callable[..., HandlerRun]


def test_a_likely_payload_is_celebrated_with_its_progress(run: Run) -> None:
    data = {
        "goal_id": 1, "goal_name": "Q3 revenue", "milestone": 75,
        "current_value": 75542.0, "target_value": 100000.0,
    }  # fmt: skip
    (message,) = run("goal.milestone_reached", data=data).messages
    assert message.title == "Milestone reached: Q3 revenue is at 76 %"
    assert message.severity == "success"
    assert message.body.splitlines() == [
        "Goal id: 1", "Goal name: Q3 revenue", "Milestone: 75",
        "Current value: 75,542", "Target value: 100,000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "title", "body"),
    [
        ({"goal": {"name": "Sales"}}, "Milestone reached: Sales", "Goal name: Sales"),
        ({"goal": "Sales"}, "Milestone reached: Sales", "Goal: Sales"),
        ({"steps": ["a", "b"]}, "Milestone reached: a goal", "Steps 1: a\nSteps 2: b"),
        ({"current_value": 5, "target_value": 0}, "Milestone reached: a goal", None),
        ("hooray", "Milestone reached: a goal", "Value: hooray"),
        ([True], "Milestone reached: a goal", "1: true"),
        (None, "Milestone reached: a goal", "Milestone reached: a goal"),
        ({}, "Milestone reached: a goal", "Milestone reached: a goal"),
    ],
)
def test_any_shape_is_celebrated(run: Run, data: Any, title: str, body: str | None) -> None:
    (message,) = run({"event": "goal.milestone_reached", "data": data}).messages
    assert message.title == title
    assert body is None or message.body == body


def test_a_huge_payload_makes_a_readable_message(run: Run) -> None:
    data = {f"field_{number}": "x" * 10_000 for number in range(500)}
    (message,) = run("goal.milestone_reached", data=data).messages
    assert len(message.body.splitlines()) == 20
    assert len(message.body) < 5_000
