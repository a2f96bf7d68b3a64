"""Strict reading of what a stranger sent: headers, timestamps, message ids.

Nothing here raises anything but SignatureError, whatever the bytes are.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from receiver.errors import SignatureError
from receiver.signatures.verdict import RawHeaders

MAX_ENTRIES = 32
"""More signatures than this in one header are refused: each may cost a check."""

MAX_ID_BYTES = 256

_VISIBLE_ASCII = re.compile(rb"[!-~]+")
_RFC3339 = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


def by_name(headers: RawHeaders, read: frozenset[bytes]) -> dict[bytes, bytes]:
    """The headers as a dict; `ambiguous` if one of the names in `read` is there twice."""
    found = dict(headers)
    if len(found) != len(headers):
        names = [name for name, _ in headers if name in read]
        if len(names) != len(set(names)):
            raise SignatureError("ambiguous", "a header that the scheme reads is repeated")
    return found


def needed(found: dict[bytes, bytes], name: bytes) -> bytes:
    """The value of the header; `missing` if there is none."""
    value = found.get(name)
    if value is None:
        raise SignatureError("missing", f"no header {name.decode('latin-1')}")
    return value


def split_entries(value: bytes, separator: bytes) -> list[bytes]:
    """The entries of a header that is a list; `malformed` if they are too many."""
    entries = value.split(separator, MAX_ENTRIES)
    if len(entries) > MAX_ENTRIES:
        raise SignatureError("malformed", f"more than {MAX_ENTRIES} entries")
    return entries


def is_message_id(text: bytes, separator: bytes) -> bool:
    """Whether it can be an id: visible ASCII, not too long, without `separator`.

    An id with the separator in it would let one signature fit two readings of the signed
    content (Standard Webhooks, "Signature scheme").
    """
    if len(text) > MAX_ID_BYTES or not _VISIBLE_ASCII.fullmatch(text):
        return False
    return not separator or separator not in text


def read_seconds(text: bytes) -> float:
    """`1700000000`: Unix seconds, nothing but ASCII digits."""
    if len(text) > 12 or not text.isdigit():
        raise SignatureError("timestamp_malformed", "not Unix seconds")
    return int(text)


def read_milliseconds(text: bytes) -> float:
    """`1700000000000`: Unix milliseconds, nothing but ASCII digits."""
    if len(text) > 15 or not text.isdigit():
        raise SignatureError("timestamp_malformed", "not Unix milliseconds")
    return int(text) / 1000


def read_iso(text: bytes) -> float:
    """`2023-11-14T22:13:20.5+01:00`: RFC 3339, with its offset from UTC or `Z`."""
    if _RFC3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text.decode("ascii")).timestamp()
        except ValueError:  # such as month 13
            pass
    raise SignatureError("timestamp_malformed", "not an RFC 3339 timestamp with an offset")


def check_age(signed_at: float, now: float, tolerance_seconds: float) -> None:
    """`too_old` or `too_new` if the two moments are further apart than the tolerance."""
    age_seconds = now - signed_at
    if age_seconds > tolerance_seconds:
        raise SignatureError("too_old", f"signed {age_seconds:.0f} s ago")
    if -age_seconds > tolerance_seconds:
        raise SignatureError("too_new", f"signed {-age_seconds:.0f} s ahead")


def _write_iso(now: float) -> str:
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


TIMESTAMPS: dict[str, tuple[Callable[[bytes], float], Callable[[float], str]]] = {
    "seconds": (read_seconds, lambda now: str(int(now))),
    "milliseconds": (read_milliseconds, lambda now: str(int(now * 1000))),
    "iso": (read_iso, _write_iso),
}
"""How each timestamp format is read (to Unix seconds) and written (from them)."""
