"""What stands in a request's headers: everything that may be a signature, a timestamp or an id."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, str]]

_TOKEN = re.compile(r"[0-9A-Za-z+/_-]{20,}={0,2}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_ENTRY = re.compile(r"[,;\s]+", re.ASCII)
_BEFORE = re.compile(r"(?:v\d+a?,|[^,;\s\"']*)$", re.ASCII)
_TIME = re.compile(r"\d{9,13}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)", re.ASCII)


class Token(NamedTuple):
    """What may be a signature."""

    header: str
    before: str
    """What stands before it in its entry: `sha256=`, `v1=`, `v1,`; "" if nothing does."""
    encoding: str
    digest: bytes


def tokens(headers: Headers) -> Iterator[Token]:
    """Every run of hex or base64 that could be a digest, in every way that it can be read."""
    for name, value in headers:
        for found in _TOKEN.finditer(value):
            before = _BEFORE.search(value[: found.start()])
            assert before is not None, "it matches an empty text too"
            for encoding, digest in _readings(found[0]):
                yield Token(name.lower(), before[0], encoding, digest)


def _readings(text: str) -> Iterator[tuple[str, bytes]]:
    if _HEX.fullmatch(text):
        yield "hex", bytes.fromhex(text)
    try:
        raw = urlsafe_b64decode(
            text.rstrip("=").translate(str.maketrans("+/", "-_"))
            + "=" * (-len(text.rstrip("=")) % 4)
        )
    except ValueError:
        return
    yield "base64url" if set(text) & set("-_") else "base64", raw
    if _HEX.fullmatch(raw.decode("latin-1")):
        yield "base64 of hex", bytes.fromhex(raw.decode())


def times(headers: Headers) -> list[str]:
    """Every timestamp, as it is written, those beside a signature first."""
    found: dict[str, None] = {}
    ordered = sorted(headers, key=lambda pair: "signature" not in pair[0].lower())
    for _, value in ordered:
        for entry in _ENTRY.split(value):
            text = entry.rpartition("=")[2]
            if _TIME.fullmatch(text):
                found[text] = None
    return list(found)


def ids(headers: Headers) -> list[str]:
    """Every value that may be a message id."""
    return [value for name, value in headers if re.search(r"(id|delivery)$", name, re.IGNORECASE)]
