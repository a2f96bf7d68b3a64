"""AI credits: they go down, run out, and say so when they get low."""

from claribi.sandbox.errors import ApiError
from claribi.sandbox.events import credits_data, emit
from claribi.sandbox.world import World

LOW_SHARE = 0.10
"""The reference: `billing.credits_low` means "AI credits are below 10%"."""


def spend(world: World, amount: int) -> None:
    """Take credits away. Raises ApiError 422, and takes nothing, when there are too few."""
    remaining = world.state.credits_remaining
    if remaining < amount:
        raise ApiError(
            422,
            "Not enough AI credits",
            detail=f"This costs {amount} AI credits; {remaining} remain.",
        )
    set_remaining(world, remaining - amount)


def set_remaining(world: World, remaining: int) -> None:
    """Change the balance; sends `billing.credits_low` when it falls below 10 % of the total."""
    state = world.state
    threshold = state.credits_total * LOW_SHARE
    was_low = state.credits_remaining < threshold
    state.credits_remaining = remaining
    if remaining < threshold and not was_low:
        emit(world, "billing.credits_low", credits_data(remaining, state.credits_total))
    world.bell.ring()
