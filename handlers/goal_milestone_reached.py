"""goal.milestone_reached: celebrates.

The API reference shows no payload for this event and has no endpoint for goals, so the message
has whatever came, in the order in which it came.
"""

from receiver import Context, on
from receiver.events import GoalReached

CHANNEL = "ops"


@on("goal.milestone_reached")
async def celebrate(event: GoalReached, ctx: Context) -> None:
    ctx.notify(
        CHANNEL,
        template="goal.milestone_reached",
        values={
            "name": event.data.goal_name,
            "current": event.data.current_value,
            "target": event.data.target_value,
            "payload": ctx.event.json.get("data"),
        },
        severity="success",
    )
