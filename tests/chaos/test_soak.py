"""B11, in small: after thousands of events a server has no more memory or files than before."""

from pathlib import Path

import pytest
from chaos_counts import COUNTS
from reckoning import UNFINISHED, Reckoning, handled, titles
from serve_process import Load, Serve, measured, opened, serving, settle, write_home
from setups import wait_until

WARM_UP = 2000
GROWTH_BYTES = 24 << 20
"""What caches may still take: with 100,000 events by command, a leak of 250 bytes for each."""


def open_files(serve: Serve) -> int:
    return sum(1 for _ in Path(f"/proc/{serve.process.pid}/fd").iterdir())


def rest(home: Path, load: Load, count: int) -> dict[str, bytes]:
    """Wait until so many are accepted, and all is done."""
    wait_until(lambda: len(load.accepted) >= count, "enough are accepted", seconds=600)
    load.end()
    settle(home, UNFINISHED, seconds=120)
    assert load.statuses.keys() == {202}
    return load.accepted


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_memory_and_files_do_not_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_home(tmp_path / "home")
    with serving(home) as serve:
        accepted = dict(rest(home, Load(serve, "warm-up", clients=4), WARM_UP))
        memory, files = serve.memory_bytes(), open_files(serve)
        accepted |= rest(home, Load(serve, "soak", clients=4), COUNTS.soak_events)
        grown, more = serve.memory_bytes() - memory, open_files(serve) - files
        with opened(home) as database:
            ((workers,),) = database.execute("SELECT count(*) FROM workers")
        assert serve.stop() == 0
    assert workers == 1
    assert grown < GROWTH_BYTES
    assert more <= 4, "a reader's connection may have come"
    assert Reckoning(home).stored == accepted
    assert handled(home) == dict.fromkeys(accepted, 1)
    assert titles(home / "messages.jsonl") == dict.fromkeys(accepted, 1)
    measured(
        capsys,
        f"soak: {len(accepted) - WARM_UP} events after {WARM_UP}: {grown / 1024 / 1024:+.1f} MiB, "
        f"{more:+d} open files, each handled and told once",
    )
