"""HTTP to addresses that people give: only where they meant it to go.

A name is looked up once for each connection, every address of the answer is judged, and the
connection goes to one of those, so that a name which changes its mind gets nowhere (RELIABILITY.md
F and R8). Redirects are never followed, and no proxy variable is read.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpcore2

from receiver.errors import UsageError

if TYPE_CHECKING:
    import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Reach = Literal["loopback", "public", "private"]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")


def reach_of(address: Address) -> Reach:
    """Where an address leads. An IPv6 address that carries an IPv4 one leads to both.

    >>> [reach_of(ipaddress.ip_address(a)) for a in ("127.0.0.1", "9.9.9.9", "169.254.169.254")]
    ['loopback', 'public', 'private']

    `is_global` alone would take the metadata service behind NAT64 for public:

    >>> reach_of(ipaddress.ip_address("64:ff9b::a9fe:a9fe"))
    'private'
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return reach_of(address.ipv4_mapped)
        if address.is_loopback:
            return "loopback"
        # Site-local addresses are no longer in use, and is_global has forgotten them.
        if address.is_site_local or any(reach_of(v4) != "public" for v4 in _carried(address)):
            return "private"
    elif address.is_loopback:
        return "loopback"
    is_public = address.is_global and not address.is_multicast
    return "public" if is_public else "private"


def _carried(address: ipaddress.IPv6Address) -> Iterable[ipaddress.IPv4Address]:
    """The IPv4 addresses that a gateway or a tunnel would make of it."""
    if address in _NAT64 or address in _V4_COMPATIBLE:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:  # where in it the IPv4 address stands is the network's own choice
        yield ipaddress.IPv4Address(0)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


class Refused(httpcore2.ConnectError):
    """The address is private, and that was not allowed."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How far a client may reach."""

    reaches: frozenset[Reach]
    remedy: str
    """How to let it reach further, after `if meant, `."""

    def check(self, address: Address) -> None:
        """Raises Refused for an address beyond them."""
        reach = reach_of(address)
        if reach not in self.reaches:
            kind = "this machine's own" if reach == "loopback" else "a private"
            raise Refused(f"{address} is {kind} address; if meant, {self.remedy}")


def typed(*, allow_private: bool) -> Bounds:
    """For an address that a person types at this machine: its own are fine."""
    reaches: tuple[Reach, ...] = ("loopback", "public")
    more: tuple[Reach, ...] = ("private",) if allow_private else ()
    return Bounds(reaches=frozenset(reaches + more), remedy="--allow-private")


def configured(*, allow_private: bool) -> Bounds:
    """For an address in the settings, to which a server goes by itself, day and night."""
    more: tuple[Reach, ...] = ("loopback", "private") if allow_private else ()
    return Bounds(reaches=frozenset(("public", *more)), remedy="set allow_private = true")


async def look_up(host: str, port: int, bounds: Bounds) -> list[Address]:
    """The addresses of a host; raises Refused if one is out of bounds, OSError if there is none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(each[4][0])) for each in found]
    for address in addresses:
        bounds.check(address)
    return addresses


def shown(url: str) -> str:
    """The address as it may be printed: without a user and password that stand in it.

    >>> shown("https://ann:hunter2@example.com/hook"), shown("https://example.com/hook")
    ('https://***@example.com/hook', 'https://example.com/hook')
    """
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    _, has_user, host = authority.rpartition("@")
    return f"{scheme}{separator}***@{host}{slash}{path}" if has_user else url


def check_form(option: str, url: str) -> tuple[str, int]:
    """Host and port of an HTTP address. Raises UsageError for what is none."""
    import httpx2  # noqa: PLC0415 - slow

    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise UsageError(f"{option} {shown(url)}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{option} {shown(url)}: write an http:// or https:// address")
    port = 80 if parsed.port is None else parsed.port
    if not 0 < port < 65_536:
        raise UsageError(f"{option} {shown(url)}: there is no port {port}")
    return parsed.raw_host.decode("ascii"), port


async def check_url(option: str, url: str, *, allow_private: bool) -> None:
    """Raises UsageError for what is no HTTP address, no host, or private and not meant to be."""
    host, port = check_form(option, url)
    try:
        await look_up(host, port, typed(allow_private=allow_private))
    except Refused as error:
        raise UsageError(f"{option} {shown(url)}: {error}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {shown(url)}: no such host ({error})") from None


def guarded_client(bounds: Bounds, **options: Any) -> "httpx2.AsyncClient":
    """An HTTP client that connects only to addresses it has judged."""
    import httpx2  # noqa: PLC0415

    transport = httpx2.AsyncHTTPTransport(limits=options.pop("limits", httpx2.Limits()))
    pool = transport._pool
    # httpx2 has no public place for a network backend, though httpcore2 has. Should the private
    # one go, this fails, and does not send unguarded.
    assert isinstance(pool, httpcore2.AsyncConnectionPool), "httpx2 builds on httpcore2"
    pool._network_backend = _Backend(pool._network_backend, bounds)
    return httpx2.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=False, **options
    )


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, backend: httpcore2.AsyncNetworkBackend, bounds: Bounds) -> None:
        self._backend = backend
        self._bounds = bounds

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2 gives it
        *args: Any,
        **options: Any,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await look_up(host, port, self._bounds)
        except (OSError, ValueError) as error:
            raise httpcore2.ConnectError(f"no such host: {error}") from error
        failure: Exception = httpcore2.ConnectError("no such host")
        for address in dict.fromkeys(addresses):
            try:
                stream = await self._backend.connect_tcp(
                    str(address), port, timeout, *args, **options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
                continue
            peer = str(stream.get_extra_info("server_addr")[0])
            if ipaddress.ip_address(peer) != address:
                await stream.aclose()
                raise Refused(f"the connection to {address} leads to {peer}")
            return stream
        raise failure

    async def connect_unix_socket(
        self, *_args: Any, **_options: Any
    ) -> httpcore2.AsyncNetworkStream:
        raise Refused("a socket of this machine is no address")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
