"""goal.milestone_reached: celebrates.

The API reference shows no payload for this event and has no endpoint for goals, so the message
has whatever came, in the order in which it came.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from receiver import Context, on
from receiver.events import GoalReached

CHANNEL = "ops"
MAX_LINES = 20
MAX_LINE_LENGTH = 200


@on("goal.milestone_reached")
async def celebrate(event: GoalReached, ctx: Context) -> None:
    payload = ctx.event.json.get("data")
    ctx.notify(
        CHANNEL,
        title=f"Milestone reached: {event.data.goal_name or 'a goal'}{progress(event)}",
        body="\n".join(islice(lines_of(payload), MAX_LINES)),
        severity="success",
    )


def progress(event: GoalReached) -> str:
    """` is at 75 %`, if the payload has a value and a target."""
    current, target = event.data.current_value, event.data.target_value
    return f" is at {100 * current / target:.0f} %" if current is not None and target else ""


def lines_of(value: Any, name: str = "") -> Iterator[str]:
    """A line per plain value: `Goal name: Revenue`."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for key, inner in pairs:
            yield from lines_of(inner, f"{name} {key}".replace("_", " ").strip())
    elif value is not None:
        yield f"{name.capitalize() or 'Value'}: {value}"[:MAX_LINE_LENGTH]
