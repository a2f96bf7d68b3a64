"""How a command that serves or works runs its loop, and how its process ends."""

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_END_SECONDS = 0.5


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, on uvloop where there is one: it moves a third more deliveries."""
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def ignore_hangups() -> None:
    """Let no SIGHUP end the process before it can reload at one."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run_to_the_end(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine; its exit status. What does not end with it can't keep the process."""
    return run_loop(_then_end(main))


async def _then_end(main: Coroutine[Any, Any, int]) -> int:
    status = await main
    # All is stored and closed. What does not end by itself now, such as the thread of a handler
    # that hangs, may not keep the process.
    last_resort = threading.Timer(_END_SECONDS, os._exit, (status,))
    last_resort.daemon = True
    last_resort.start()
    return status
