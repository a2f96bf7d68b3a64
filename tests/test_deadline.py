"""Deadline: cancels what takes too long, and nothing else."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.deadline import Deadline, DeadlineExceeded

FOREVER = 3600.0

law = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 10))


def test_code_in_time_is_left_alone() -> None:
    async def main() -> None:
        with Deadline(FOREVER):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


async def limited(work: Callable[[], Awaitable[None]]) -> None:
    """Run the work with a deadline that strikes at its first wait."""
    with Deadline(0):
        await work()


async def wait() -> None:
    await asyncio.sleep(FOREVER)


async def wait_and_swallow() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await wait()


async def wait_and_fail() -> None:
    try:
        await wait()
    finally:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (wait, DeadlineExceeded),
        (wait_and_swallow, DeadlineExceeded),
        (wait_and_fail, ZeroDivisionError),
    ],
)
def test_code_that_takes_too_long_is_cancelled(
    work: Callable[[], Awaitable[None]], error: type[Exception]
) -> None:
    """Swallowing the cancellation does not help, an error that is raised instead is passed on;
    and afterwards the task goes on as if nothing had been.
    """

    async def main() -> None:
        with pytest.raises(error):
            await limited(work)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_a_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        entered = asyncio.Event()

        async def work() -> None:
            with Deadline(FOREVER):
                entered.set()
                await asyncio.sleep(FOREVER)

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_a_cancellation_from_outside_wins_when_both_come_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def work() -> None:
            with Deadline(0):
                loop.call_later(0, task.cancel)
                await asyncio.sleep(FOREVER)

        task = asyncio.create_task(work())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


@law
@given(
    limits=st.lists(st.sampled_from([0.0, FOREVER]), min_size=1, max_size=5),
    is_long=st.booleans(),
)
def test_nested_deadlines_cut_what_is_too_long_for_any(limits: list[float], is_long: bool) -> None:
    """Whatever the limits, code that ends at once is never cut and code without end always is,
    if any limit is short; and the task is as before.
    """

    async def nest(rest: list[float]) -> None:
        if rest:
            with Deadline(rest[0]):
                await nest(rest[1:])
        elif is_long and 0.0 in limits:
            await asyncio.sleep(FOREVER)

    async def main() -> None:
        struck = False
        try:
            await nest(limits)
        except DeadlineExceeded:
            struck = True
        assert struck == (is_long and 0.0 in limits)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)
