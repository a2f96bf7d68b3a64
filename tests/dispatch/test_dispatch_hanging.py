"""Targets that accept a message and never answer: events in, messages out, over real sockets."""

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dispatch_parts import TYPE, event, until

from receiver.engine import Engine, load_registry
from receiver.model import Delivery, State
from receiver.settings import load_settings
from receiver.store.base import DeliveryFilter
from receiver.store.configured import open_store

pytestmark = pytest.mark.anyio

HANDLER = """
    from receiver import Context, on

    @on("data_source.sync_failed")
    async def tell(event: dict, ctx: Context) -> None:
        for channel in event["channels"]:
            ctx.notify(channel, title=event["title"], body="it did")
    """


class Peer:
    """A server that takes JSON messages, and while it hangs answers none."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.hanging: set[str] = set()
        """Paths at which nobody gets an answer."""
        self.waiting = 0
        """Connections without their answer."""
        self._mended = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)

    def url(self, path: str) -> str:
        assert self._server is not None
        return f"json://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{path}"

    def mend(self) -> None:
        self.hanging.clear()
        self._mended.set()

    async def stop(self) -> None:
        self.mend()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        await until(lambda: not self.waiting)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            if head.split()[1].strip("/") in self.hanging:
                gone = asyncio.ensure_future(reader.read())
                mended = asyncio.ensure_future(self._mended.wait())
                await asyncio.wait([gone, mended], return_when=asyncio.FIRST_COMPLETED)
                for task in (gone, mended):
                    task.cancel()
                return
            self.titles.append(body["title"])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # cut off from the other side: what these tests are about
        finally:
            self.waiting -= 1
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.start()
    yield peer
    await peer.stop()


StartEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def start_engine(tmp_path: Path) -> StartEngine:
    for folder in ("config", "handlers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config" / "clarihook.toml").touch()
    (tmp_path / "handlers" / "mine.py").write_text(textwrap.dedent(HANDLER))

    @asynccontextmanager
    async def start(**channels: dict[str, Any]) -> AsyncIterator[Engine]:
        settings = load_settings(tmp_path, {}, {"channels": channels})
        engine = Engine(settings, open_store(settings, role="owner"), load_registry(settings))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop(0.0)

    return start


async def accept(engine: Engine, title: str, channels: Sequence[str]) -> None:
    body = {"event": TYPE, "title": title, "channels": list(channels)}
    await engine.intake.accept(event(body), body)


async def sent_to(engine: Engine, name: str) -> list[Delivery]:
    return await engine.store.deliveries(DeliveryFilter(names=[name]), limit=1000)


async def test_thirty_hanging_targets_do_not_delay_a_healthy_one(
    start_engine: StartEngine, peer: Peer
) -> None:
    peer.hanging = {"hang"}
    async with start_engine(
        slow={"urls": [peer.url("hang")] * 30, "timeout": "60s"},
        ops={"urls": [peer.url("in")], "timeout": "60s"},
    ) as engine:
        await accept(engine, "first", ["slow"])
        await until(lambda: peer.waiting == 30, seconds=30)
        titles = [f"event {number}" for number in range(20)]
        for title in titles:
            await accept(engine, title, ["slow", "ops"])
        await until(lambda: len(peer.titles) == len(titles), seconds=20)
        assert peer.waiting >= 30, "they hang as before"
        counts = [len(await sent_to(engine, f"slow/{n}-json")) for n in (1, 30)]
        assert counts == [21, 21], "what is for the others waits in the store"
        for delivery in await sent_to(engine, "ops/*"):
            assert delivery.attempts == 1
    assert peer.titles == titles, "in order"


async def test_a_hanging_target_is_left_alone_and_gets_its_messages_once_it_is_mended(
    start_engine: StartEngine, peer: Peer
) -> None:
    peer.hanging = {"hang"}
    channel = {"urls": [peer.url("hang")], "timeout": "300ms", "schedule": ["5ms"],
               "circuit_pause": "400ms"}  # fmt: skip
    async with start_engine(slow=channel) as engine:
        for number in range(6):
            await accept(engine, f"event {number}", ["slow"])
        await until(lambda: engine.dispatcher.circuits.open, seconds=20)
        (circuit,) = await engine.store.open_circuits()
        assert circuit.name == "slow/1-json"
        assert circuit.reason is not None
        assert circuit.reason.startswith("no ")
        deliveries = await sent_to(engine, "slow/*")
        # Each weighs 2, or 3 if only the channel's own time-out ended it, as on a busy machine.
        assert sum(each.attempts for each in deliveries) in (2, 3), "so many time-outs weigh 5"
        peer.mend()

        async def are_sent() -> bool:
            return {each.state for each in await sent_to(engine, "slow/*")} == {State.SUCCEEDED}

        await until(are_sent, seconds=30)
        assert not engine.dispatcher.circuits.open
        assert await engine.store.open_circuits() == []
    assert sorted(set(peer.titles)) == [f"event {number}" for number in range(6)]


async def test_a_target_takes_several_at_a_time_if_its_channel_says_so(
    start_engine: StartEngine, peer: Peer
) -> None:
    peer.hanging = {"hang"}
    channel = {"urls": [peer.url("hang")], "timeout": "60s", "concurrency": 3}
    async with start_engine(slow=channel) as engine:
        for number in range(5):
            await accept(engine, f"event {number}", ["slow"])
        await until(lambda: peer.waiting == 3, seconds=20)
        running = [each.state for each in await sent_to(engine, "slow/*")].count(State.RUNNING)
        assert running == 3
