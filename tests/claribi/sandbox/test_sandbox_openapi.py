"""The OpenAPI document says what the sandbox does; schemathesis tries to prove otherwise."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from sandbox_server import Running, running

from claribi.sandbox.openapi import document
from claribi.sandbox.operations import OPERATIONS

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

# All checks but one: a request that fits the document may still be refused, for a name that is
# taken, a data source that does not exist, credits that ran out.
CHECKS = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]


@pytest.mark.parametrize(
    ("key", "phases"),
    [
        ("api_key", "coverage,fuzzing,stateful"),
        ("viewer_key", "coverage"),
        (None, "coverage"),
    ],
)
def test_schemathesis_finds_no_500_and_no_undeclared_answer(
    tmp_path: Path, key: str | None, phases: str
) -> None:
    with running() as fresh:
        headers = ["-H", f"X-API-Key: {getattr(fresh.sandbox, key)}"] if key else []
        command = [
            str(SCHEMATHESIS),
            "run",
            f"{fresh.origin}/openapi.json",
            *headers,
            *CHECKS,
            *("--phases", phases, "--max-examples", "12", "--seed", "20250715", "--no-color"),
        ]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        calls = fresh.sandbox.calls
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Selected: 21/21" in done.stdout
    assert {call.status for call in calls}.isdisjoint({500, 503})


def test_the_document_is_served_and_lists_every_operation(served: Running) -> None:
    answer = httpx2.get(f"{served.origin}/openapi.json", trust_env=False).json()
    assert answer == document()
    assert answer["openapi"] == "3.1.0"
    names = [
        operation["operationId"] for path in answer["paths"].values() for operation in path.values()
    ]
    assert len(names) == len(set(names)) == len(OPERATIONS)


def test_every_operation_says_in_a_sentence_what_it_does() -> None:
    for path in document()["paths"].values():
        for operation in path.values():
            assert operation["summary"].endswith((".", ")"))
            assert operation["summary"][0].isupper()
