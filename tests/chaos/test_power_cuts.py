"""A3: the power fails at a random moment. What was acknowledged before is there, whole."""

import asyncio
import bisect
import errno
import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos_counts import COUNTS
from disk_shim import SERVE, Call, Fault, File, Kind, Plan, Record, read_records, under_shim
from ledger import find_faults
from serve_process import Load, measured, serving, write_home
from simulated_disk import SimulatedDisk

from receiver.model import NewDelivery, NewEvent
from receiver.store.ids import new_event_id
from receiver.store.sharing import can_share
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.chaos

PROCESSES = (1, 2)
CUTS = -(-COUNTS.power_cuts // len(PROCESSES))
EVENTS = 2500
"""Enough for the WAL to be moved into the database, and begun again, a few times."""
LAX = [sys.executable, str(Path(__file__).with_name("serve_lax.py")), "serve"]


@dataclass(frozen=True)
class Recording:
    """What a server did from its first start to its end."""

    records: list[Record]
    bodies: dict[str, bytes]
    """Of the events whose senders got the answer, by id."""

    @property
    def wal_restarts(self) -> int:
        """How often the log was begun again at its beginning: all of it had been moved."""
        wals = {r.file for r in self.records
                if r.kind is Kind.CREATED and r.content.endswith(b"-wal")}  # fmt: skip
        begun = [r for r in self.records
                 if r.kind is Kind.WRITTEN and r.file in wals and r.number == 0]  # fmt: skip
        return len(begun) - len(wals)


def record(
    tmp_path: Path, shim: Path, program: list[str], *, events: int, folder: str = "data"
) -> Recording:
    home, log = write_home(tmp_path / "home"), tmp_path / "records"
    with serving(home, program=under_shim(shim, home / folder, log=log, program=program)) as serve:
        load = Load(serve, "load", enough=events)
        assert load.has_begun.wait(100)
        load.end()
        assert serve.stop() == 0, serve.said
    assert set(load.statuses) == {202}
    recording = Recording(list(read_records(log)), load.accepted)
    acknowledged = {r.content.decode() for r in recording.records if r.kind is Kind.ACKNOWLEDGED}
    assert acknowledged == load.accepted.keys(), "the shim sees every answer"
    return recording


def choose_moments(recording: Recording, chance: random.Random, *, count: int) -> list[int]:
    """Numbers of records after which the power fails: half of them just after an answer."""
    answers = [n for n, r in enumerate(recording.records) if r.kind is Kind.ACKNOWLEDGED]
    return sorted(
        chance.choice(answers) if each % 2 else chance.randrange(len(recording.records))
        for each in range(count)
    )


def cut(
    recording: Recording, folder: Path, *, count: int, seed: int
) -> list[tuple[str, list[str]]]:
    """Cut the power so many times; each time that something is wrong then: which, and what."""
    chance = random.Random(seed)
    disk = SimulatedDisk()
    acknowledged: dict[str, bytes | None] = {}
    found = []
    moments = choose_moments(recording, chance, count=count)
    for number, happened in enumerate(recording.records):
        disk.take(happened)
        if happened.kind is Kind.ACKNOWLEDGED:
            event_id = happened.content.decode()
            acknowledged[event_id] = recording.bodies.get(event_id)
        for each in range(bisect.bisect_left(moments, number), bisect.bisect(moments, number)):
            folder.mkdir()
            way = disk.cut_power(folder, random.Random(seed + each))
            faults = []
            if each % 8 == 0:
                faults = asyncio.run(start_again(folder / "clarihook.db"))
            faults += find_faults(folder / "clarihook.db", acknowledged)
            if faults:
                found.append((f"seed {seed}, cut {each}, after record {number}, {way}", faults))
            shutil.rmtree(folder)
    return found


async def start_again(database: Path) -> list[str]:
    """Open the file as a server does at its start, store an event, and close it."""
    store = SqliteStore(database)
    try:
        await store.open()
        body = b'{"event": "test.after"}'
        event = NewEvent(new_event_id(int(time.time() * 1000)), "claribi", "test.after",
                         int(time.time() * 1000), body, "", None, None, body)  # fmt: skip
        await store.record(event, [NewDelivery("handler", "deployed.note", 1)])
        if await store.event(event.id) is None:
            return ["what is stored after the start is not there"]
        running = await store.read(
            lambda db: db.execute(
                "SELECT count(*) FROM deliveries WHERE state = 'running'"
            ).fetchone()[0]
        )
        return [f"{running} deliveries run for ever"] if running else []
    except Exception as error:
        return [f"does not open: {error!r}"]
    finally:
        await store.close()


@pytest.mark.timeout(240 + CUTS)
@pytest.mark.parametrize("processes", PROCESSES)
def test_a_power_cut_loses_no_acknowledged_event(
    tmp_path: Path, shim: Path, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """R1 and R2 on a disk that loses, keeps or tears whatever was not synced."""
    if processes > 1 and not can_share(runs_deliveries=True):
        pytest.skip("this SQLite, or this system, lets only one process write")
    begun, seed = time.monotonic(), processes
    program = [*SERVE, "--workers", str(processes)]
    recording = record(tmp_path, shim, program, events=EVENTS)
    assert recording.wal_restarts >= 2
    recorded = time.monotonic()
    found = cut(recording, tmp_path / "left", count=CUTS, seed=seed)
    assert found == []
    measured(
        capsys,
        f"{CUTS} power cuts, {processes} processes: {len(recording.bodies)} events acknowledged, "
        f"0 lost; {len(recording.records)} records, "
        f"the WAL begun again {recording.wal_restarts} times; "
        f"{recorded - begun:.0f} s to record, {time.monotonic() - recorded:.0f} s to cut",
    )


@pytest.mark.parametrize("files", [File.WAL, File.DATABASE], ids=lambda files: files.name)
def test_a_power_cut_after_a_failed_sync_loses_nothing_either(
    tmp_path: Path, shim: Path, files: File
) -> None:
    """R10: what a failed sync was for may never reach the disk, and no later sync brings it there.

    A commit that fails so ends the server. In a checkpoint SQLite goes on: it has everything in
    the WAL, and writes all of it again.
    """
    home, log = write_home(tmp_path / "home"), tmp_path / "records"
    plan = Plan(tmp_path / "plan")
    with serving(home, program=under_shim(shim, home / "data", log=log, plan=plan)) as serve:
        plan.arm(Fault(call=Call.SYNC, nth=1 if files is File.DATABASE else 80, error=errno.EIO,
                       files=files))  # fmt: skip
        load = Load(serve, "load", enough=EVENTS)
        if files is File.WAL:
            assert serve.wait() == 1
        else:
            assert load.has_begun.wait(100)
        load.end()
        assert plan.failed == 1
    plan.close()
    recording = Recording(list(read_records(log)), load.accepted)
    assert cut(recording, tmp_path / "left", count=40, seed=0) == []


def test_a_new_folder_for_the_data_is_safe_before_the_first_answer(
    tmp_path: Path, shim: Path
) -> None:
    """Else a power cut soon after the first start could take all of it, by its name."""
    records = record(tmp_path, shim, SERVE, events=1, folder="").records
    kinds = [each.kind for each in records]
    (home,) = [each.file for each in records if each.kind is Kind.CREATED and not each.content]
    synced = [each.file for each in records[: kinds.index(Kind.ACKNOWLEDGED)]
              if each.kind is Kind.SYNCED]  # fmt: skip
    assert home in synced


def test_the_check_finds_what_it_is_for(tmp_path: Path, shim: Path) -> None:
    """The same server with `synchronous = NORMAL` loses acknowledged events."""
    recording = record(tmp_path, shim, LAX, events=200)
    found = cut(recording, tmp_path / "left", count=20, seed=0)
    assert len(found) >= 10, "half of the cuts come just after an answer"
    assert any("acknowledged, and lost" in fault for _, faults in found for fault in faults)
