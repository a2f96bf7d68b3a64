"""`clarihook signature check` and `clarihook rejections`, from the shell."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_deployment import Deployment, eventually

from receiver.signatures import SchemeSpec, build_scheme

SECRET = "a made-up secret for tests"
BODY = b'{"event": "a.b"}'


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server that has refused two requests: one signed with another secret, one too long."""
    deployment = Deployment(tmp_path_factory.mktemp("home"))
    config = deployment.home / "config/clarihook.toml"
    config.write_text(f"{config.read_text()}\n[rejections]\nmax_body_bytes = 1024\n")
    deployment.serve()
    url = ("--url", f"{deployment.origin}/hooks/claribi", "--secret", "quite another secret")
    try:
        deployment.call("events", "send", "a.b", *url)
        long = json.dumps({"text": "x" * 2000})
        deployment.call("events", "send", "a.b", *url, "--data", long)
        eventually(lambda: len(deployment.json("rejections", "list")["rejections"]) == 2)
        yield deployment
    finally:
        deployment.stop()


def capture(home: Path, scheme: str, body: bytes = BODY) -> list[str]:
    """Files of a request that was signed just now."""
    pairs = build_scheme(SchemeSpec(scheme=scheme), [SECRET]).sign(
        BODY, message_id="msg_1", now=time.time()
    )
    lines = ["POST /hooks/claribi HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), ""]
    (home / "headers").write_text("\r\n".join(lines))
    (home / "body").write_bytes(body)
    return ["--headers-file", str(home / "headers"), "--body-file", str(home / "body")]


@pytest.mark.parametrize("scheme", ["claribi", "github", "shopify"])
def test_the_scheme_that_fits_is_named(deployment: Deployment, scheme: str) -> None:
    files = capture(deployment.home, scheme)
    result = deployment.call("signature", "check", *files, "--secret", SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"valid: scheme {scheme}, secret 0\n"


def test_the_cause_is_named_for_the_only_source(deployment: Deployment) -> None:
    files = capture(deployment.home, "claribi", BODY + b"\n")
    result = deployment.call("signature", "check", *files)
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "refused as claribi: mismatch: signed with another secret, or changed on its way",
        "  because  the body has a line break at its end that was not signed",
    ]
    late = deployment.json("signature", "check", *files, "--at", "2h")
    assert late["refusal"].startswith("too_new")


def test_a_refused_request_is_listed_shown_and_explained(deployment: Deployment) -> None:
    second, first = deployment.json("rejections", "list")["rejections"]
    assert (first["status"], first["source"]) == (401, "claribi")
    assert "mismatch" in first["reason"]
    shown = deployment.call("rejections", "show", str(first["id"])).stdout
    assert "x-claribi-signature: t=" in shown
    assert '"event": "a.b"' in shown
    why = deployment.call("signature", "check", str(first["id"]))
    assert why.returncode == 1
    assert "maybe  another secret" in why.stdout
    right = deployment.json("signature", "check", str(first["id"]), "--secret",
                            "quite another secret")  # fmt: skip
    assert right["verified"] is not None
    cut = deployment.call("signature", "check", str(second["id"]))
    assert cut.returncode == 2
    assert "bytes were kept, so its signature can't be tried" in cut.stderr
    assert "1024 of " in deployment.call("rejections", "show", str(second["id"])).stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["signature", "check"], "give a rejection's number, or --headers-file and --body-file"),
        (["signature", "check", "99"], "there is no rejection 99 (any more)"),
        (["signature", "check", "--headers-file", "no", "--body-file", "no"], "no can't be read"),
        (["signature", "check", "1", "--source", "x"], "there is no source 'x'"),
        (["signature", "check", "1", "--secret", SECRET, "--scheme", "x"], "--scheme x: use one"),
        (["rejections", "show", "99"], "see `clarihook rejections list`"),
    ],
)
def test_user_errors_say_what_to_do(
    deployment: Deployment, arguments: list[str], text: str
) -> None:
    result = deployment.call(*arguments)
    assert result.returncode == 2
    assert text in result.stderr
