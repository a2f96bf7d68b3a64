"""One target that hangs is its own trouble only."""

import asyncio
import subprocess
import sys
import threading

import pytest
from notify_endpoints import MakeTarget, Web, say, send

from receiver.model import Outcome
from receiver.notify.lane import Lane
from receiver.notify.target import SendResult


@pytest.mark.parametrize("kind", ["trickle", "drip", "hang"])
def test_deadline_gives_unknown_and_frees_the_thread(
    web: Web, make_target: MakeTarget, kind: str
) -> None:
    """A head that trickles in keeps each read short of its timeout: only cutting it helps."""

    async def run() -> None:
        target = make_target(f"json://{web.host}/{kind}?rto=60", name="ops/1-slow", timeout=0.2)
        target.open().socket_read_timeout = 60
        first = await target.send(say())
        assert (first.outcome, first.error_class) == (Outcome.UNKNOWN, "DeadlineExceeded")
        stuck = target._lane._slots[0].running
        assert stuck is not None
        await stuck
        assert not web.release.is_set(), "the server still hangs, our thread does not"
        await target.close()

    asyncio.run(run())


def test_thread_that_does_not_come_back_keeps_only_its_own_target_busy() -> None:
    async def run() -> None:
        lane = Lane("ops/1-stuck", timeout_seconds=0.05, rate=None)
        release = threading.Event()
        done = SendResult(outcome=Outcome.DELIVERED)
        abandoned: list[int] = []

        def stuck(_slot: int) -> SendResult:
            release.wait()
            return done

        first = await lane.run(stuck, abandon=lambda: abandoned.append(1))
        assert (first.outcome, first.error_class) == (Outcome.UNKNOWN, "DeadlineExceeded")
        assert abandoned == [1]
        for _ in range(3):
            again = await lane.run(lambda _slot: done)
            assert (again.outcome, again.error_class) == (Outcome.TRANSIENT, "TargetBusy")
        assert [t.name for t in threading.enumerate()].count("target-ops/1-stuck") == 1
        assert lane._slots[0].running is not None
        release.set()
        await lane._slots[0].running
        assert (await lane.run(lambda _slot: done)).outcome is Outcome.DELIVERED
        lane.stop()

    asyncio.run(run())


def test_thirty_hanging_targets_do_not_delay_a_healthy_one(
    web: Web, make_target: MakeTarget
) -> None:
    async def run() -> None:
        hanging = [
            make_target(f"json://{web.host}/hang", name=f"ops/{n}-json", timeout=60)
            for n in range(1, 31)
        ]
        sends = [asyncio.create_task(target.send(say())) for target in hanging]
        await asyncio.to_thread(lambda: [web.arrived.acquire() for _ in hanging])
        healthy = make_target(f"json://{web.host}/in", name="ops/31-json", timeout=60)
        result = await healthy.send(say())
        assert result.outcome is Outcome.DELIVERED
        assert not any(task.done() for task in sends), "the healthy one waited for nobody"
        web.release.set()
        await asyncio.gather(*sends)
        for target in (*hanging, healthy):
            await target.close()

    asyncio.run(run())


def test_sends_to_one_target_go_one_after_the_other(web: Web, make_target: MakeTarget) -> None:
    async def run() -> None:
        target = make_target(f"json://{web.host}/in", name="ops/1-json")
        results = await asyncio.gather(*(target.send(say(str(n))) for n in range(8)))
        assert {result.outcome for result in results} == {Outcome.DELIVERED}
        assert [t.name for t in threading.enumerate()].count("target-ops/1-json") == 1
        await target.close()

    asyncio.run(run())
    assert len(web.requests) == 8


def test_a_target_takes_as_many_at_a_time_as_its_channel_says(
    web: Web, make_target: MakeTarget
) -> None:
    """Each in a thread of its own, with an Apprise service of its own."""

    async def run() -> None:
        target = make_target(
            f"json://{web.host}/hang", name="ops/1-wide", timeout=60, concurrency=3
        )
        sends = [asyncio.create_task(target.send(say(str(n)))) for n in range(5)]
        await asyncio.to_thread(lambda: [web.arrived.acquire() for _ in range(3)])
        assert len(web.requests) == 3, "two wait for their turn"
        names = sorted(t.name for t in threading.enumerate() if "/1-wide" in t.name)
        assert names == [f"target-ops/1-wide{end}" for end in ("", "-2", "-3")]
        assert len({id(service) for service in target._services}) == 3
        web.release.set()
        await asyncio.gather(*sends)
        await target.close()

    asyncio.run(run())
    assert len(web.requests) == 5


def test_a_stuck_slot_is_out_of_use_and_the_others_go_on() -> None:
    async def run() -> None:
        lane = Lane("ops/1-stuck", timeout_seconds=0.05, rate=None, concurrency=2)
        release = threading.Event()
        done = SendResult(outcome=Outcome.DELIVERED)
        used: list[int] = []

        def stuck(_slot: int) -> SendResult:
            release.wait()
            return done

        def work(slot: int) -> SendResult:
            used.append(slot)
            return done

        assert (await lane.run(stuck)).error_class == "DeadlineExceeded"
        for _ in range(4):
            assert (await lane.run(work)).outcome is Outcome.DELIVERED
        assert used == [1] * 4
        assert (await lane.run(stuck)).error_class == "DeadlineExceeded"
        assert (await lane.run(work)).error_class == "TargetBusy"
        release.set()
        for slot in lane._slots:
            assert slot.running is not None
            await slot.running
        assert (await lane.run(work)).outcome is Outcome.DELIVERED
        lane.stop()

    asyncio.run(run())


def test_a_target_with_little_to_do_has_one_thread() -> None:
    async def run() -> None:
        lane = Lane("ops/1-calm", timeout_seconds=5, rate=None, concurrency=4)
        used: list[int] = []
        for _ in range(8):
            await lane.run(lambda slot: used.append(slot) or SendResult(outcome=Outcome.DELIVERED))
        assert used == [0] * 8
        lane.stop()

    asyncio.run(run())


def test_cancelled_send_is_cut_off(web: Web, make_target: MakeTarget) -> None:
    async def run() -> None:
        target = make_target(f"json://{web.host}/hang", timeout=60)
        task = asyncio.create_task(target.send(say()))
        await asyncio.to_thread(web.arrived.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stuck = target._lane._slots[0].running
        assert stuck is not None
        await stuck
        assert not web.release.is_set()
        await target.close()

    asyncio.run(run())


def test_nothing_more_is_sent_once_the_deadline_has_passed(
    web: Web, make_target: MakeTarget
) -> None:
    """The first of three pieces hangs past the deadline; the others must not follow it."""

    async def run() -> None:
        target = make_target(f"mmost://{web.host}/trickle/{'t' * 24}", timeout=0.3)
        result = await target.send(say("words and words " * 700))
        assert result.outcome is Outcome.UNKNOWN
        stuck = target._lane._slots[0].running
        assert stuck is not None
        await stuck

    asyncio.run(run())
    assert len(web.requests) == 1


def test_process_exits_while_a_send_hangs(web: Web) -> None:
    script = f"""
import asyncio
from pathlib import Path
from receiver.model import Message
from receiver.notify import ChannelSpec, Notifier

async def main():
    spec = ChannelSpec(urls=("json://{web.host}/trickle",), timeout_seconds=0.2)
    notifier = Notifier({{"ops": spec}}, home=Path("."))
    target = notifier.get("ops/1-json")
    print((await target.send(Message(channel="ops", title="t", body="b"))).outcome)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "unknown\n", "")


def test_target_can_be_used_again_in_another_loop(web: Web, make_target: MakeTarget) -> None:
    target = make_target(f"json://{web.host}/in")
    assert [send(target).outcome for _ in range(2)] == [Outcome.DELIVERED] * 2
