"""Runs deliveries in a process that receives nothing: `clarihook work`."""

import asyncio
import os
import signal
from collections.abc import Callable

import structlog

from receiver.engine import Engine
from receiver.reload import Reloader

log = structlog.get_logger("receiver.worker")


async def run(
    engine: Engine, reloader: Reloader, *, watches_files: bool, on_ready: Callable[[], None]
) -> int:
    """Run deliveries until a signal asks to stop; the exit status.

    The first signal drains as a server's stop does, the second one ends the process at once.
    """
    stopping = asyncio.Event()
    fatal: list[BaseException] = []

    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            # As a crash, which loses nothing: another worker takes up what was running.
            log.warning("server.forced", signal=number.name)
            os._exit(1)
        stopping.set()

    def on_fatal(error: BaseException) -> None:
        # What the disk holds is unknown after a failed write: only a fresh start is safe.
        log.critical("store.failed", error=str(error))
        fatal.append(error)
        stopping.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, on_signal, each)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    try:
        engine.store.on_fatal = on_fatal
        await engine.start()
        reloader.start(watches_files=watches_files)
        on_ready()
        await stopping.wait()
        await reloader.stop()
        if not fatal:
            await engine.stop()
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
    return 1 if fatal else 0
