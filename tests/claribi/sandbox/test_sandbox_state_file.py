"""A state in a file: what one run did, the next one knows."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sandbox_server import Receiver, running

from claribi.sandbox import StateFileError, create_app


def test_everything_survives_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    path = tmp_path / "deep" / "state.json"
    with running(state_path=path) as first:
        first.api.delete("dashboards/3/")
        number = first.api.post("reports/", json={"name": "n", "template": "t"}).json()["id"]
        first.drain()
        first.sandbox.advance(timedelta(minutes=30))
        first.sandbox.add_webhook(receiver.url, secret="kept")
        tokens = first.login()
        first.fire("report.generated")
    with running(state_path=path) as second:
        assert second.api.get("dashboards/3/").status_code == 404
        assert second.api.get(f"reports/{number}/").json()["status"] == "published"
        assert second.sandbox.state.credits_remaining == 1345
        assert second.sandbox.world.clock.offset_seconds == 1800
        access = {"Authorization": f"Bearer {tokens['access']}"}
        assert second.call("GET", "auth/status/", headers=access).status_code == 200
        assert [one.status for one in second.sandbox.deliveries] == ["delivered"]
        second.fire("report.generated")
        assert len(receiver.requests) == 2


def test_what_was_under_way_goes_on_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    path = tmp_path / "state.json"
    with running(state_path=path, speed=0.001, webhook_urls=[receiver.url]) as first:
        receiver.statuses += [503]
        (refused,) = first.fire("report.generated")
        first.api.post("data-sources/2/sync/")
        assert refused.status == "pending"
    with running(state_path=path, webhook_urls=[receiver.url]) as second:
        assert len(second.sandbox.state.webhooks) == 1
        second.sandbox.advance(timedelta(days=365))
        second.drain()
        assert sorted(receiver.types) == [
            "data_source.sync_completed",
            "report.generated",
            "report.generated",
        ]
        bodies = {body for _, body in receiver.requests if b"report.generated" in body}
        assert bodies == {refused.body.encode()}


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    create_app(state_path=tmp_path / "state.json")
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', "\x00"])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StateFileError, match="delete it to start afresh"):
        create_app(state_path=path)
    assert path.read_text() == content


def test_a_place_that_cant_be_written_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFileError, match="can be read and written"):
        create_app(state_path=tmp_path / "file" / "state.json")


def test_a_disk_that_fails_later_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with running(state_path=folder / "state.json") as one:
        (folder / "state.json").unlink()
        (folder / "state.json").mkdir()
        assert one.api.delete("dashboards/3/").status_code == 204
        assert one.api.get("dashboards/3/").status_code == 404


def test_the_sandbox_can_start_at_any_moment() -> None:
    start = datetime(2025, 7, 15, 8, tzinfo=UTC)
    with running(start_at=start) as one:
        usage = one.api.get("billing/usage/").json()
        assert usage["billing_period"] == {"start": "2025-07-01", "end": "2025-07-31"}
        claims_at = one.sandbox.world.clock.moment()
        assert timedelta(0) <= claims_at - start < timedelta(minutes=1)


def test_time_only_moves_forward() -> None:
    with pytest.raises(ValueError, match="only moves forward"):
        create_app().state.sandbox.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="above 0"):
        create_app(speed=0)
