"""Runs the demo from start to summary."""

import asyncio
import signal
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from claribi import AsyncClariBI
from receiver.demo.home import MESSAGES_FILE, open_folder
from receiver.demo.narrator import Narrator, Say
from receiver.demo.story import scenes
from receiver.demo.world import World, open_world
from receiver.errors import ClarihookError
from receiver.store.base import EventFilter

SCENES_OF_ONE_ROUND = 4


async def run(
    handlers: Mapping[str, str],
    say: Say,
    *,
    home: Path | None,
    once: bool,
    every_seconds: float,
) -> None:
    """Run the demo until it has shown each event once, or else until SIGINT or SIGTERM.

    `handlers` has the shipped handlers' texts by path. Without `home` nothing is left behind.
    Raises ClarihookError if an event or a message did not arrive.
    """
    stop = asyncio.Event()
    begun = time.monotonic()
    with _signals(stop), open_folder(home) as folder:
        async with open_world(folder, handlers) as world:
            _introduce(world, say)
            narrator = Narrator(world, say)
            await _until(_tell(narrator, once=once, every_seconds=every_seconds), stop, world)
            if not stop.is_set():
                say()
                await _summarise(narrator, time.monotonic() - begun, is_kept=home is not None)
    if stop.is_set():
        say("stopped")


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask to stop, which takes a few seconds at most: asking twice is no use."""
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    try:
        yield
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)


async def _until(telling: Coroutine[Any, Any, None], stop: asyncio.Event, world: World) -> None:
    """Tell until the story ends, somebody stops it, or a server breaks."""
    story = asyncio.create_task(telling, name="demo story")
    stopped = asyncio.create_task(stop.wait(), name="demo stop")
    try:
        done, _ = await asyncio.wait(
            {story, stopped, *world.tasks}, return_when=asyncio.FIRST_COMPLETED
        )
        if story in done:
            story.result()
        elif stopped not in done:
            raise ClarihookError("a server of the demo has stopped; its log says why")
    finally:
        story.cancel()
        stopped.cancel()
        await asyncio.gather(story, stopped, return_exceptions=True)


async def _tell(narrator: Narrator, *, once: bool, every_seconds: float) -> None:
    world = narrator.world
    async with AsyncClariBI(
        base_url=f"{world.sandbox_origin}/api/", api_key=world.sandbox.api_key
    ) as client:
        story = scenes(world.sandbox, client)
        for scene in islice(story, SCENES_OF_ONE_ROUND) if once else story:
            narrator.say()
            narrator.say(scene.title, "bold blue")
            await scene.play()
            narrator.forget_calls()
            for event_type in scene.events:
                await narrator.follow(event_type)
            if not once:
                await asyncio.sleep(every_seconds)


def _introduce(world: World, say: Say) -> None:
    say("clarihook demo: nothing here is real, and nothing leaves this machine.", "bold")
    say(f"  sandbox   {world.sandbox_origin}/api/ stands in for clariBI")
    say(f"  receiver  {world.receiver_origin}/hooks/claribi")
    say(f"  channel   ops: a JSON webhook ({world.inbox_origin}) and a file ({MESSAGES_FILE})")
    say(f"  console   {world.console_origin}/ with the token {world.token}")
    say(f"  folder    {world.home}")


async def _summarise(narrator: Narrator, took_seconds: float, *, is_kept: bool) -> None:
    """Say what arrived. Raises ClarihookError unless all of it did."""
    world = narrator.world
    stored = await world.engine.store.count_events(EventFilter())
    if stored != narrator.events:
        raise ClarihookError(f"{narrator.events} events were sent, but {stored} are stored")
    received = len(world.inbox.messages)
    file = world.home / MESSAGES_FILE
    written = len(file.read_text("utf-8").splitlines())
    if not received == written == narrator.sent / 2:
        raise ClarihookError(
            f"{narrator.sent} messages were sent, but the JSON webhook received {received} "
            f"and the file has {written}"
        )
    say = narrator.say
    say(f"Done in {took_seconds:.1f} s.", "bold green")
    say(f"  {stored} events stored, {stored} handled, by {narrator.handled} runs of handlers")
    say(f"  {received} messages received by the JSON webhook")
    say(f"  {written} messages in {file}{'' if is_kept else ', which is now removed'}")
    say()
    if is_kept:
        say(f"Look around: clarihook events list --home {world.home}")
    else:
        say("Keep the folder to look around in it: clarihook demo --once --home DIR")
    say("Make your own: clarihook init my-hooks")
