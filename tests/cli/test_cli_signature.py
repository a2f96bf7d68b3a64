"""`clarihook signature check` and `clarihook rejections`, from the shell."""

import json
import shlex
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


def curl(scheme: str = "claribi", body: bytes = BODY) -> str:
    """A command that sends a request that was signed just now."""
    pairs = build_scheme(SchemeSpec(scheme=scheme), [SECRET]).sign(
        BODY, message_id="msg_1", now=time.time()
    )
    headers = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in pairs)
    return f"curl https://example.com/hook {headers} --data-raw {shlex.quote(body.decode())}"


def test_a_curl_command_is_enough(deployment: Deployment) -> None:
    valid = deployment.call("signature", "check", "--curl", curl())
    assert (valid.returncode, valid.stdout) == (0, "valid: scheme claribi, secret 0\n")
    (deployment.home / "sent.sh").write_text(curl(body=BODY + b"\n"))
    file = f"@{deployment.home / 'sent.sh'}"
    broken = deployment.call("signature", "check", "--curl", file)
    assert broken.returncode == 1
    assert "because  the body has a line break at its end that was not signed" in broken.stdout


def test_an_archive_is_enough_and_knows_when_it_came(
    deployment: Deployment, tmp_path: Path
) -> None:
    """An event that was accepted an hour ago, as `events export` writes it."""
    other = Deployment(tmp_path / "other")
    other.serve()
    try:
        other.send("a.b", "--count", "2")
    finally:
        other.stop()
    file = tmp_path / "it.har"
    assert other.call("events", "export", "-o", str(file)).returncode == 0
    har = json.loads(file.read_text())
    several = other.call("signature", "check", "--har", str(file))
    assert (several.returncode, "those with a body are: 1, 2" in several.stderr) == (2, True)
    found = other.call("signature", "check", "--har", str(file), "--entry", "2")
    assert found.stdout == "valid: scheme claribi, secret 0\n"
    late = other.json(
        "signature", "check", "--har", str(file), "--entry", "2", "--at", "2020-01-01"
    )
    assert late["refusal"].startswith("too_new")
    file.write_text(json.dumps(har["log"]["entries"][0]))
    assert other.call("signature", "check", "--har", str(file)).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["signature", "check"], "give the request in one way: a rejection's number, or --headers"),
        (["signature", "check", "1", "--curl", "curl x"], "give the request in one way"),
        (["signature", "check", "--body-file", "x"], "give the request in one way"),
        (["signature", "check", "1", "--entry", "2"], "--entry is for --har"),
        (["signature", "check", "--curl", "wget x"], "--curl: it does not begin with curl"),
        (["signature", "check", "--curl", "curl -d 'x"], "--curl: a ' is not closed"),
        (["signature", "check", "--curl", "@no"], "no can't be read"),
        (["signature", "check", "--har", "no"], "no can't be read"),
        (["signature", "check", "99"], "there is no rejection 99 (any more)"),
        (["signature", "check", "--headers-file", "no", "--body-file", "no"], "no can't be read"),
        (["signature", "check", "1", "--source", "x"], "there is no source 'x'"),
        (["signature", "check", "1", "--secret", SECRET, "--scheme", "x"], "--scheme x: use one"),
        (["rejections", "show", "99"], "see `clarihook rejections list`"),
        (["signature", "check", "1", "--at", "soon"], "--at: 'soon' is no time"),
    ],
)
def test_user_errors_say_what_to_do(
    deployment: Deployment, arguments: list[str], text: str
) -> None:
    result = deployment.call(*arguments)
    assert result.returncode == 2
    assert text in result.stderr
