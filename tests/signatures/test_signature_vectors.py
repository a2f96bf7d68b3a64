"""Every vector of tests/vectors/signatures.json gets the verdict that is written beside it."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import SignatureError
from receiver.signatures import EXPLANATIONS, PRESETS, REASONS, SchemeSpec, build_scheme

VECTORS = Path(__file__).parents[1] / "vectors" / "signatures.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]


def verdict(case: dict[str, Any]) -> dict[str, Any]:
    """What we say to the case, in the words of the file."""
    scheme = build_scheme(SchemeSpec(**case["scheme"]), case["secrets"])
    body = case["body"].encode() if "body" in case else base64.b64decode(case["body_base64"])
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in case["headers"]]
    try:
        proof = scheme.verify(headers, body, case["now"])
    except SignatureError as error:
        return {
            "verdict": "refused",
            "reason": error.reason,
            "secret_index": None,
            "message_id": None,
        }
    return {
        "verdict": "verified",
        "reason": None,
        "secret_index": proof.secret_index,
        "message_id": proof.message_id,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vector_gets_its_verdict(case: dict[str, Any]) -> None:
    assert verdict(case) == {
        key: case[key] for key in ("verdict", "reason", "secret_index", "message_id")
    }


def test_vectors_cover_every_scheme_with_both_verdicts() -> None:
    seen = {(case["scheme"]["scheme"], case["verdict"]) for case in CASES}
    expected = {(name, verdict) for name in PRESETS for verdict in ("verified", "refused")}
    assert seen == expected - {("none", "refused")}


def test_vectors_cover_every_reason() -> None:
    assert {case["reason"] for case in CASES} - {None} == REASONS == set(EXPLANATIONS)


def test_vectors_are_many_and_have_names_of_their_own() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) >= 200
    assert len(set(names)) == len(names)


def test_vector_file_is_what_its_script_makes() -> None:
    script = VECTORS.with_name("make_signatures.py")
    checked = subprocess.run(
        [sys.executable, "-B", script, "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr or f"run python {script.name} again"
