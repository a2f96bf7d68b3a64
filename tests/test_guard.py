"""Where an address leads, and that a guarded client goes nowhere else."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpcore2
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import UsageError
from receiver.guard import (
    Refused,
    check_url,
    configured,
    guarded_client,
    reach_of,
    shown,
    typed,
)

LOOPBACK = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
PUBLIC = ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909", "2002:909:909::"]
PRIVATE = [
    "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.100.100.200", "169.254.169.254",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "fe80::1",
    "fe80::1%lo", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1",
    "::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::909:909", "2002:7f00:1::1",
    "2002:a9fe:a9fe::", "2001:0:7f00:1::1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reach"),
    [(text, "loopback") for text in LOOPBACK]
    + [(text, "public") for text in PUBLIC]
    + [(text, "private") for text in PRIVATE],
)
def test_where_an_address_leads(text: str, reach: str) -> None:
    assert reach_of(ipaddress.ip_address(text)) == reach


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_another_dress_reaches_no_further(v4: ipaddress.IPv4Address) -> None:
    """Through a gateway or a tunnel even the loopback is somebody's network."""
    number = int(v4)
    assert reach_of(ipaddress.IPv6Address(0xFFFF << 32 | number)) == reach_of(v4)
    for dressed in ((0x64FF9B << 96) | number, (0x2002 << 112) | (number << 80)):
        through = reach_of(ipaddress.IPv6Address(dressed))
        assert through == ("public" if reach_of(v4) == "public" else "private")


def check(url: str, *, allow_private: bool = False) -> None:
    asyncio.run(check_url("--to", url, allow_private=allow_private))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://127.0.0.1/", "write an http:// or https:// address"),
        ("file:///etc/passwd", "write an http:// or https:// address"),
        ("unix:///run/x", "write an http:// or https:// address"),
        ("gopher://127.0.0.1/", "write an http:// or https:// address"),
        ("http:///x", "write an http:// or https:// address"),
        ("127.0.0.1:80", "--to 127.0.0.1:80: "),
        ("http://127.0.0.1:0/", "there is no port 0"),
        ("http://127.0.0.1:99999/", "there is no port 99999"),
        ("http://0177.0.0.1/", "0177.0.0.1"),
        ("http://a..b/", "no such host"),
        ("http://10.0.0.1/", "10.0.0.1 is a private address; if meant, --allow-private"),
        ("http://0/", "0.0.0.0 is a private address"),
        ("http://0x0a000001/", "10.0.0.1 is a private address"),
        ("http://2852039166/latest", "169.254.169.254 is a private address"),
        ("http://127.0.0.1@10.0.0.1/", "10.0.0.1 is a private address"),
        ("http://[fd00::1]/", "fd00::1 is a private address"),
        ("http://[64:ff9b::a9fe:a9fe]/", "is a private address"),
    ],
)
def test_an_address_has_to_be_one_and_a_private_one_to_be_meant(url: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(url)
    assert text in str(caught.value)
    if "private" in text:
        check(url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/", "http://127.1/", "http://2130706433/", "http://[::1]/x",
     "http://localhost/", "https://9.9.9.9/", "http://user:word@127.0.0.1/"],
)  # fmt: skip
def test_the_loopback_and_public_addresses_are_fine(url: str) -> None:
    check(url)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"])
def test_a_server_goes_to_its_own_machine_only_if_that_is_meant(address: str) -> None:
    found = ipaddress.ip_address(address)
    with pytest.raises(Refused, match="if meant, set allow_private = true"):
        configured(allow_private=False).check(found)
    configured(allow_private=True).check(found)


class Sink:
    """A server on the loopback that counts requests, and sends everybody on to itself."""

    def __init__(self) -> None:
        self.requests = 0
        sink = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sink.requests += 1
                self.send_response(301)
                self.send_header("location", "/again")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_port


@pytest.fixture
def sink() -> Any:
    sink = Sink()
    Thread(target=sink.server.serve_forever, daemon=True).start()
    yield sink
    sink.server.shutdown()
    sink.server.server_close()


def with_client(
    use: Callable[[httpx2.AsyncClient], Awaitable[Any]],
    answers: Callable[[], list[str]] | None = None,
    *,
    allow_private: bool = False,
) -> Any:
    """Use a client while every name's addresses are these."""

    async def main() -> Any:
        if answers is not None:

            async def getaddrinfo(_host: str, port: int, **_options: Any) -> list[Any]:
                return [(2, 1, 6, "", (address, port)) for address in answers()]

            asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        async with guarded_client(typed(allow_private=allow_private), timeout=5.0) as client:
            return await use(client)

    return asyncio.run(main())


def test_a_redirect_is_not_followed_and_a_proxy_not_used(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answer = with_client(lambda client: client.get(f"http://127.0.0.1:{sink.port}/"))
    assert (answer.status_code, sink.requests) == (301, 1)


def test_a_name_that_changes_its_mind_reaches_nothing_private(sink: Sink) -> None:
    """Public when it was checked, private when it is connected to."""
    addresses = iter([["9.9.9.9"], ["10.0.0.1"]])

    async def use(client: httpx2.AsyncClient) -> None:
        url = f"http://name.test:{sink.port}/"
        await check_url("--to", url, allow_private=False)
        await client.get(url)

    with pytest.raises(httpx2.ConnectError, match=r"10\.0\.0\.1 is a private address"):
        with_client(use, lambda: next(addresses))


@pytest.mark.parametrize("answer", [["127.0.0.1", "10.0.0.1"], ["169.254.169.254", "127.0.0.1"]])
def test_one_private_address_in_the_answer_is_enough_to_refuse(
    sink: Sink, answer: list[str]
) -> None:
    with pytest.raises(httpx2.ConnectError, match="is a private address"):
        with_client(lambda client: client.get(f"http://name.test:{sink.port}/"), lambda: answer)
    assert sink.requests == 0


def test_the_next_address_is_tried_where_nobody_listens(sink: Sink) -> None:
    url = f"http://name.test:{sink.port}/"
    if not _is_free("127.0.0.2", sink.port):
        pytest.skip("somebody listens there")
    answer = with_client(lambda client: client.get(url), lambda: ["127.0.0.2", "127.0.0.1"])
    assert answer.status_code == 301


def test_a_connection_that_leads_elsewhere_is_closed(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a redirecting firewall could have it: what counts is who the socket says it talks to."""
    asked: list[str] = []
    connect = httpcore2.AnyIOBackend.connect_tcp

    async def diverted(self: Any, host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        return await connect(self, "127.0.0.1", *args, **options)

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", diverted)
    with pytest.raises(httpx2.ConnectError, match=r"to 9\.9\.9\.9 leads to 127\.0\.0\.1"):
        with_client(
            lambda client: client.get(f"http://name.test:{sink.port}/"), lambda: ["9.9.9.9"]
        )
    assert (asked, sink.requests) == (["9.9.9.9"], 0)


def test_a_socket_of_this_machine_is_refused() -> None:
    async def use(client: httpx2.AsyncClient) -> None:
        pool = client._transport._pool  # type: ignore[attr-defined]
        await pool._network_backend.connect_unix_socket("/run/x")

    with pytest.raises(Refused):
        with_client(use)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://ann:hunter2@example.com/hook?a=b@c", "https://***@example.com/hook?a=b@c"),
        ("http://token@127.0.0.1:8000", "http://***@127.0.0.1:8000"),
        ("https://example.com/@ann", "https://example.com/@ann"),
        ("nonsense", "nonsense"),
    ],
)
def test_an_address_is_shown_without_its_credentials(url: str, said: str) -> None:
    assert shown(url) == said
