"""URL safety: where requests may go, and what may become part of a path."""

import ipaddress
from urllib.parse import SplitResult, urlsplit, urlunsplit

from claribi.errors import ConfigurationError, PaginationError


def normalise_base_url(text: str) -> str:
    """The base URL with exactly one slash at its end; a bare host gets `/api/`.

    Refuses http (except to this machine), credentials in the URL, a query and a fragment.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"base_url can't be read: {error}") from None
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError("base_url must be like https://claribi.com/api/")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("base_url must hold no credentials; use api_key= or email=")
    if parts.query or parts.fragment:
        raise ConfigurationError("base_url must have no query and no fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"base_url: http to {host} would send credentials in the clear; use https"
        )
    path = parts.path.rstrip("/") + "/" if parts.path.strip("/") else "/api/"
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{port}" if port is not None else ""
    return urlunsplit((parts.scheme, netloc, path, "", ""))


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_id(value: int | str) -> int:
    """An id: a positive int or a string of ASCII digits, so that no path can be forged."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"an id is a positive number, not {value!r}")
    return value


def relative_path(path: str) -> str:
    """A path given by the user, relative to the base URL.

    `/api/reports/1/`, as the reference writes it, and `reports/1/` are the same. A path that
    would leave the base URL is refused.
    """
    clean = path.removeprefix("/").removeprefix("api/")
    segments = clean.split("/")
    # A colon in the first segment would make it a scheme; `%2e` is a dot to many servers.
    is_unsafe = (
        not clean.isascii()
        or any(c in clean for c in "\\?#:@%")
        or any(c.isspace() or not c.isprintable() for c in clean)
        or any(segment in {".", ".."} for segment in segments)
        or "" in segments[:-1]
    )
    if not clean or is_unsafe:
        raise ConfigurationError(
            f"path {path!r} must be relative to the base URL, like reports/1/ (query: params=)"
        )
    return clean


def query_of_next(next_url: str, base_url: str) -> str:
    """The query of a list's `next` link: the only part of it that is ever followed.

    Raises PaginationError when the link leaves the base URL's origin, because whoever wrote it
    wants our credentials to go somewhere else.
    """
    try:
        link, base = urlsplit(next_url), urlsplit(base_url)
        is_relative = not link.scheme and not link.netloc
        is_ours = is_relative or _origin(link) == _origin(base)
    except ValueError:
        raise PaginationError("the list's `next` is not a URL") from None
    if not is_ours or link.username is not None:
        raise PaginationError(
            f"the list's `next` leads to {link.scheme}://{link.hostname}, away from "
            f"{base.scheme}://{base.hostname}; not followed (list(...).page(n) still works)"
        )
    return link.query


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default
