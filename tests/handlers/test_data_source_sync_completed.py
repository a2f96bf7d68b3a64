from collections.abc import Callable
from typing import Any

import pytest

from receiver.testing import HandlerRun

HANDLER = "data_source_sync_completed.watch_syncs"
Run = Callable[..., HandlerRun]


def sync(seconds: float = 45, records: int = 15420, source: int = 1) -> dict[str, Any]:
    return {
        "event": "data_source.sync_completed",
        "timestamp": "2025-07-15T08:00:00Z",
        "data": {
            "data_source_id": source,
            "data_source_name": "Production PostgreSQL",
            "records_synced": records,
            "duration_seconds": seconds,
        },
    }


def test_a_usual_sync_is_quiet_and_remembered(run: Run) -> None:
    done = run(sync(45))
    assert (done.outcome, done.messages) == ("succeeded", ())
    assert done.values == {"durations/1": [45]}


def test_a_sync_without_records_speaks(run: Run) -> None:
    (message,) = run(sync(records=0)).messages
    assert message.title == "Production PostgreSQL: the sync brought 0 records"
    assert message.body.startswith("The sync at 2025-07-15 08:00 UTC ended well, with 0 records")
    assert message.severity == "warning"


@pytest.mark.parametrize(("seconds", "speaks"), [(30, False), (30.5, True)])
def test_a_sync_speaks_when_it_takes_over_three_times_the_median(
    run: Run, seconds: float, speaks: bool
) -> None:
    store = {"durations/1": [10, 9, 11, 500, 10]}
    done = run(sync(seconds), store=store)
    assert bool(done.messages) is speaks
    assert done.values["durations/1"][-1] == seconds


def test_two_oddities_are_one_message(run: Run) -> None:
    (message,) = run(sync(100, records=0), store={"durations/1": [10] * 5}).messages
    assert message.title.endswith("0 records and the sync took 100 s, usual is 10 s")


def test_too_few_runs_have_no_usual_duration(run: Run) -> None:
    assert run(sync(500), store={"durations/1": [1, 1]}).messages == ()


def test_each_source_has_its_own_median(run: Run) -> None:
    store = {"durations/1": [1] * 5, "durations/2": [100] * 5}
    assert run(sync(90, source=2), store=store).messages == ()


def test_only_the_recent_runs_are_kept(run: Run) -> None:
    done = run(sync(45), store={"durations/1": list(range(20))})
    assert done.values["durations/1"] == [*range(1, 20), 45]


def test_a_replay_does_not_count_again(run: Run) -> None:
    assert run(sync(45), replaying=True).values == {}


def test_a_payload_that_is_not_the_documented_one_is_refused(run: Run) -> None:
    done = run("data_source.sync_completed", data={"data_source_id": 1})
    assert done.outcome == "rejected"
    assert "data.records_synced: Field required" in done.reason


def test_a_history_of_durations_is_attached(run: Run) -> None:
    (message,) = run(sync(100), store={"durations/1": [10, 11, 9, 10]}).messages
    (picture,) = message.attachments
    assert (picture.name, picture.content_type) == ("durations.png", "image/png")
    assert picture.content.startswith(b"\x89PNG")


def test_the_first_sync_has_no_history_to_show(run: Run) -> None:
    (message,) = run(sync(records=0)).messages
    assert message.attachments == ()
    assert "Durations" not in message.body


def test_without_the_extra_a_line_of_bars_says_it(run: Run, no_matplotlib: None) -> None:
    (message,) = run(sync(100), store={"durations/1": [10, 55, 10]}).messages
    assert message.attachments == ()
    assert message.body.endswith("\nDurations so far: ▁▅▁█")
