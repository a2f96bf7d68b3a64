"""`clarihook sandbox` as a process: what it prints works, and Ctrl-C ends it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sandbox_server import Receiver

from receiver.signatures import SchemeSpec, build_scheme

REPOSITORY = Path(__file__).parents[3]
SECRET = "made-up-secret-of-a-test"
# The entry stands in the table of commands; a test of this module alone doesn't need it there.
CODE = """
from receiver import cli
cli.COMMANDS.setdefault("sandbox", cli.Entry("receiver.cli.sandbox:sandbox", "A stand-in."))
cli.main()
"""


@dataclass
class Process:
    """A sandbox that runs as a command."""

    base_url: str
    printed: str
    popen: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        headers = {"X-API-Key": "claribi_sk_test_administrator"}
        return httpx2.get(f"{self.base_url}{path}", headers=headers, trust_env=False).json()

    def control(self, path: str, body: Any) -> Any:
        url = self.base_url.replace("/api/", f"/sandbox/{path}")
        return httpx2.post(url, json=body, trust_env=False, timeout=30).json()


def command(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(REPOSITORY)]),
        "SANDBOX_TEST_SECRET": SECRET,
        "COLUMNS": "120",
    }
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "sandbox", *arguments],
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def sandbox(
    *arguments: str, cwd: Path, ends_by: signal.Signals = signal.SIGINT
) -> Iterator[Process]:
    """Run the command on a free port until the block ends; it has to end well by that signal."""
    with command("--port", "0", *arguments, cwd=cwd) as popen:
        printed = ""
        assert popen.stdout is not None
        for line in popen.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        match = re.search(r"http://\S+/api/", printed)
        if match is None:
            popen.kill()
            pytest.fail(printed + popen.communicate()[1])
        try:
            yield Process(match[0], printed, popen)
        finally:
            popen.send_signal(ends_by)
            out, errors = popen.communicate(timeout=20)
    assert (popen.returncode, out, errors) == (0, "stopped\n", "")


def test_it_prints_an_address_a_key_and_logins_that_work(tmp_path: Path) -> None:
    with sandbox(cwd=tmp_path) as process:
        assert process.get("auth/status/")["organization"]["name"] == "Acme Corp"
        assert "\\" not in process.printed
        logins = re.findall(r"^(\S+@example\.com) +(\S+) +(\w+)", process.printed, re.MULTILINE)
        assert len(logins) == 4
        for email, password, _ in logins:
            body = {"email": email, "password": password}
            url = f"{process.base_url}auth/login/"
            assert httpx2.post(url, json=body, trust_env=False).status_code == 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("claribi", SECRET),
        ("github", SECRET),
        ("stripe", SECRET),
        ("slack", SECRET),
        ("standard", "whsec_bWFkZS11cC1zZWNyZXQtb2YtYS10ZXN0"),
    ],
)
def test_webhooks_are_signed_as_the_receiver_verifies_them(
    tmp_path: Path, receiver: Receiver, scheme: str, secret: str
) -> None:
    (tmp_path / "secret").write_text(secret + "\n")
    options = ("--webhook-url", receiver.url, "--webhook-secret", "file:secret")
    with sandbox(*options, "--scheme", scheme, cwd=tmp_path) as process:
        process.control("events/", {"event": "report.generated"})
    (headers, body) = receiver.requests[0]
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    verifier = build_scheme(SchemeSpec(scheme=scheme), [secret])
    verifier.verify(raw, body, time.time())


def test_sigterm_ends_it_as_well_as_ctrl_c(tmp_path: Path) -> None:
    with sandbox(cwd=tmp_path, ends_by=signal.SIGTERM) as process:
        assert process.get("auth/status/")["user"]["id"] == 1


def test_the_state_is_kept_between_runs(tmp_path: Path) -> None:
    options = ("--state", "data/sandbox.json", "--speed", "1000")
    with sandbox(*options, cwd=tmp_path) as process:
        process.control("credits/", {"remaining": 77})
    with sandbox(*options, cwd=tmp_path) as process:
        assert process.get("billing/usage/")["ai_credits"]["remaining"] == 77


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--speed", "0"), "--speed"),
        (("--webhook-url", "nowhere"), "http://"),
        (("--webhook-secret", "env:SANDBOX_NO_SUCH"), "SANDBOX_NO_SUCH is not set"),
        (("--webhook-secret", "env:SANDBOX_SHORT"), "use at least 16"),
        (("--scheme", "semaphore"), 'scheme "semaphore" is unknown'),
        (("--state", "."), "can be read and written"),
        (("--host", "203.0.113.1"), "can't listen"),
    ],
)
def test_mistakes_are_told_in_a_line_and_end_with_2(
    tmp_path: Path, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_SHORT", "short")
    with command("--port", "0", *options, cwd=tmp_path) as popen:
        out, errors = popen.communicate(timeout=30)
    assert popen.returncode == 2, errors
    assert said in errors
    assert "Traceback" not in errors
    assert out == ""


def test_an_address_that_others_can_reach_is_warned_about(tmp_path: Path) -> None:
    with command("--port", "0", "--host", "0.0.0.0", cwd=tmp_path) as popen:
        assert popen.stdout is not None
        while "Ctrl-C" not in popen.stdout.readline():
            assert popen.poll() is None
        popen.send_signal(signal.SIGINT)
        _, errors = popen.communicate(timeout=20)
    assert "0.0.0.0 is not the loopback" in errors
