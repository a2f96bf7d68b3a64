"""R10: after a failed fsync nobody knows what is on the disk. The process ends, and says so."""

import sys
from pathlib import Path

import pytest
from serve_process import event_body, opened, serving, write_home


@pytest.mark.chaos
def test_after_a_failed_fsync_the_process_ends_and_the_next_one_starts(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home")
    program = [sys.executable, str(Path(__file__).with_name("serve_failing.py")), "serve"]
    with serving(home, program=program) as serve:
        status, first = serve.post(event_body("a"))
        assert status == 202
        (home / "fail").touch()
        status, answer = serve.post(event_body("b"))
        assert (status, answer["error"]) == (503, "service_unavailable")
        assert serve.wait() == 1
        assert "store.failed" in serve.said
        assert "Traceback" not in serve.said
    (home / "fail").unlink()
    with serving(home) as serve:
        assert serve.post(event_body("b"))[0] == 202
        assert serve.post(event_body("a")) == (200, {**first, "duplicate": True})
        assert serve.stop() == 0
    with opened(home) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (2,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
