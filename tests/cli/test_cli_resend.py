"""`clarihook replay --to URL`: the exact bytes, signed anew or as they came."""

import re
from collections.abc import Iterator

import pytest
from live_deployment import Deployment

from receiver.cli.resend import check_url
from receiver.errors import UsageError


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Deployment]]:
    """One that has five events, and one that accepts them; both servers run."""
    one = Deployment(tmp_path_factory.mktemp("one"))
    two = Deployment(tmp_path_factory.mktemp("two"))
    one.serve()
    two.serve()
    try:
        one.send("good.a", "--count", "5", "--data", '{"name": "Müller"}')
        yield one, two
    finally:
        one.stop()
        two.stop()


def bodies(deployment: Deployment) -> set[str]:
    events = deployment.json("events", "list")["events"]
    return {deployment.json("events", "show", event["id"])["body"] for event in events}


def test_another_receiver_accepts_them_byte_for_byte(pair: tuple[Deployment, Deployment]) -> None:
    one, two = pair
    to = ("--to", f"{two.origin}/hooks/claribi")
    result = one.call("replay", "run", "--type", "good.*", *to)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("5 sent: 5 with 202; p50 ")
    assert bodies(two) == bodies(one)
    again = one.json("replay", "run", "--type", "good.*", "--limit", "2", "--as-received", *to)
    assert [sent["status"] for sent in again["sent"]] == [200, 200]
    assert one.json("replay", "list")["replays"] == []


def test_a_refusal_ends_with_1(pair: tuple[Deployment, Deployment]) -> None:
    one, two = pair
    result = one.call("replay", "run", "--type", "good.*", "--to", f"{two.origin}/hooks/nowhere")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith("5 sent: 5 with 404")


def test_what_cannot_be_signed_says_so_and_stops_no_other(
    pair: tuple[Deployment, Deployment],
) -> None:
    one, two = pair
    config = one.home / "config/clarihook.toml"
    text = config.read_text()
    config.write_text(text.replace("[sources.claribi]", "[sources.renamed]"))
    try:
        to = ("--to", f"{two.origin}/hooks/claribi")
        result = one.call("replay", "run", "--type", "good.*", *to)
        assert result.returncode == 1
        assert result.stdout.count("source 'claribi' is not in the settings") == 5
        assert one.call("replay", "run", "--type", "good.*", "--as-received", *to).returncode == 0
    finally:
        config.write_text(text)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://127.0.0.1/", "write an http:// or https:// address"),
        ("http://10.0.0.1/", "10.0.0.1 is a private address; if meant, --allow-private"),
        ("http://169.254.169.254/latest", "169.254.169.254 is a private address"),
        ("http://[fd00::1]/", "fd00::1 is a private address"),
        ("http://0x0a000001/", "10.0.0.1 is a private address"),
    ],
)
def test_a_private_address_has_to_be_meant(url: str, text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        check_url(url, allow_private=False)
    if "private" in text:
        check_url(url, allow_private=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://[::1]/x", "https://9.9.9.9/"])
def test_the_loopback_and_public_addresses_are_fine(url: str) -> None:
    check_url(url, allow_private=False)
