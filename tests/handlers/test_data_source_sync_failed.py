from collections.abc import Callable
from typing import Any

from receiver.testing import HandlerRun

HANDLER = "data_source_sync_failed.alert_and_resync"
Run = Callable[..., HandlerRun]

SOURCE = {
    "id": 5, "name": "Legacy MySQL", "type": "database", "engine": "mysql", "status": "error",
    "last_synced_at": "2025-07-14T08:00:00Z",
}  # fmt: skip
SYNC = {"message": "Sync started", "task_id": "abc123", "estimated_duration": "2 minutes"}
API: dict[str, Any] = {"GET data-sources/5/": SOURCE, "POST data-sources/5/sync/": (202, SYNC)}
POST = "POST data-sources/5/sync/"


def failed(at: str = "2025-07-15T08:00:00Z", **data: Any) -> dict[str, Any]:
    known = {"data_source_id": 5, "data_source_name": "Legacy MySQL", "error": "refused"}
    return {"event": "data_source.sync_failed", "timestamp": at, "data": known | data}


def completed() -> dict[str, Any]:
    data = {
        "data_source_id": 5, "data_source_name": "Legacy MySQL",
        "records_synced": 10, "duration_seconds": 3,
    }  # fmt: skip
    return {"event": "data_source.sync_completed", "data": data}


def test_the_first_failure_says_what_broke_and_asks_for_a_resync(run: Run) -> None:
    done = run(failed(), claribi=API)
    assert done.outcome == "succeeded", done.reason
    (message,) = done.messages
    assert (message.title, message.severity) == ("Legacy MySQL failed to sync", "warning")
    assert message.body.splitlines() == [
        "What broke: refused",
        "Since: 2025-07-15 08:00 UTC",
        "Data source: Legacy MySQL, mysql, error, last synced 2025-07-14 08:00 UTC",
        "Re-sync: started, takes about 2 minutes",
    ]
    assert [str(call) for call in done.api_calls] == ["GET data-sources/5/", POST]


def test_a_streak_gets_one_resync_and_is_critical_from_the_third_failure_on(run: Run) -> None:
    runs, store = [], {}
    for hour in (8, 9, 10, 11):
        runs.append(run(failed(f"2025-07-15T{hour:02}:00:00Z"), claribi=API, store=store))
        store = runs[-1].values
    messages = [done.messages[0] for done in runs]
    assert [m.severity for m in messages] == ["warning", "warning", "critical", "critical"]
    assert messages[2].title == "Legacy MySQL failed to sync, 3 times in a row"
    assert all("Since: 2025-07-15 08:00 UTC" in message.body for message in messages)
    assert [str(call) for done in runs for call in done.api_calls].count(POST) == 1


def test_a_success_closes_the_streak(run: Run) -> None:
    store = run(failed(), claribi=API).values
    closed = run(completed(), claribi=API, store=store)
    assert (closed.messages, closed.values, closed.api_calls) == ((), {}, ())
    again = run(failed(), claribi=API, store=closed.values)
    assert again.messages[0].title == "Legacy MySQL failed to sync"
    assert POST in map(str, again.api_calls)


def test_a_retry_never_asks_for_a_second_resync(run: Run) -> None:
    """An attempt that was cut off may have asked; nothing that it staged was kept."""
    done = run(failed(), claribi=API, attempt=2)
    assert POST not in map(str, done.api_calls)
    assert "Re-sync: may have been asked for" in done.messages[0].body
    following = run(failed(), claribi=API, store=done.values)
    assert POST not in map(str, following.api_calls)


def test_a_refused_resync_is_asked_for_again_at_the_next_failure(run: Run) -> None:
    refused = run(failed(), claribi=API | {POST: 409})
    assert "Re-sync: could not be started" in refused.messages[0].body
    assert POST in map(str, run(failed(), claribi=API, store=refused.values).api_calls)


def test_a_replay_tells_but_touches_nothing(run: Run) -> None:
    store = run(failed(), claribi=API).values
    done = run(failed(), claribi=API, store=store, replaying=True)
    assert len(done.messages) == 1
    assert POST not in map(str, done.api_calls)
    assert done.values == store
    assert run(completed(), store=store, replaying=True).values == store


def test_streaks_of_two_sources_do_not_mix(run: Run) -> None:
    store = run(failed(), claribi=API).values
    other = run(failed(data_source_id=6, data_source_name="Other"), claribi=API, store=store)
    assert other.messages[0].title == "Other failed to sync"
    assert len(other.values) == 2


def test_an_event_without_an_id_still_speaks(run: Run) -> None:
    done = run({"event": "data_source.sync_failed"}, claribi=API)
    assert done.messages[0].title == "A data source failed to sync"
    assert "the event does not say which" in done.messages[0].body
    assert (done.api_calls, done.values) == ((), {})


def test_the_name_comes_from_the_api_when_the_event_has_none(run: Run) -> None:
    done = run(failed(data_source_name=None), claribi=API)
    assert done.messages[0].title == "Legacy MySQL failed to sync"
