"""Which address a request, or a form, means. Total: whatever it says, it is an address or none."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A host, in lower case, and a port; None if a Host header names none."""

    host: str
    port: int | None


def address_of(url: str) -> Address | None:
    """Of an origin or an address; None if it is none.

    >>> address_of("https://Console.example.com"), address_of("http://[::1]:8001/x")
    (Address(host='console.example.com', port=443), Address(host='::1', port=8001))
    >>> address_of("null"), address_of("http://[zz]/"), address_of("http://a:b/")
    (None, None, None)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return None if not host else Address(host, port or _PORTS.get(parts.scheme))


def named_by(host_header: str, *, scheme: str = "") -> Address | None:
    """Of a Host header, with the port of the scheme if it names none; None for what is none
    (RFC 9110, 7.2).

    >>> named_by("127.0.0.1:8001"), named_by("evil@127.0.0.1"), named_by("["), named_by("")
    (Address(host='127.0.0.1', port=8001), None, None, None)
    >>> named_by("console.example.com"), named_by("console.example.com", scheme="https")
    (Address(host='console.example.com', port=None), Address(host='console.example.com', port=443))
    """
    if set(host_header) & set("/\\@?# "):
        return None
    return address_of(f"{scheme}://{host_header}" if scheme else f"//{host_header}")
