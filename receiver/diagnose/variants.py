"""What may have happened to a request on its way: every guess as the bytes that it leads to.

Each generator begins with what the scheme itself says (an empty text), then the likeliest guess.
"""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote_plus

DIGESTS = ("sha256", "sha1", "sha512", "sha384", "md5")
SIGNED = (
    "{body}",
    "{timestamp}.{body}",
    "{id}.{timestamp}.{body}",
    "v0:{timestamp}:{body}",
    "{timestamp}:{body}",
    "{timestamp}{body}",
    "{body}{timestamp}",
)


class Variant(NamedTuple):
    """A guess: what is wrong if it fits, and the bytes that it makes."""

    text: str
    value: bytes


def bodies(body: bytes) -> Iterator[Variant]:
    """What the sender may have signed, if this is what arrived."""
    yield Variant("", body)
    yield from _line_ends(body)
    mark = b"\xef\xbb\xbf"
    other = body.removeprefix(mark) if body.startswith(mark) else mark + body
    yield Variant("a byte order mark was put before the body, or taken away", other)
    yield from _serialisations(body)
    for encode, decode in (("latin-1", "utf-8"), ("utf-8", "latin-1")):
        try:
            changed = body.decode(decode).encode(encode)
        except UnicodeError:
            continue
        yield Variant(f"the body was signed in another encoding: {encode} of this text", changed)
    form = b"payload=" + quote_plus(body).encode()
    yield Variant("the body was signed as a form (payload=…); set the sender to send JSON", form)
    yield Variant("an empty body was signed: something took the body away", b"")


def _line_ends(body: bytes) -> Iterator[Variant]:
    bare = body.rstrip(b"\r\n")
    if bare != body:
        yield Variant("the body has a line break at its end that was not signed", bare)
    yield Variant("the line break at the end of the body was lost", bare + b"\n")
    yield Variant("the line break (CRLF) at the end of the body was lost", bare + b"\r\n")
    yield Variant("white space around the body was not signed", body.strip())
    unix = body.replace(b"\r\n", b"\n")
    yield Variant("line breaks were changed from LF to CRLF", unix)
    yield Variant("line breaks were changed from CRLF to LF", unix.replace(b"\n", b"\r\n"))


def _serialisations(body: bytes) -> Iterator[Variant]:
    """The same JSON, written as common libraries write it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    forms: dict[str, tuple[tuple[str, str] | None, int | None]] = {
        "without spaces": ((",", ":"), None),
        "with spaces after , and :": (None, None),
        "indented by 2": (None, 2),
        "indented by 4": (None, 4),
    }
    for sort in (False, True):
        for name, (separators, indent) in forms.items():
            for ascii_only in (False, True):
                text = json.dumps(
                    value, separators=separators, indent=indent,
                    sort_keys=sort, ensure_ascii=ascii_only,
                )  # fmt: skip
                order = ", keys sorted" if sort else ""
                yield Variant(
                    f"the body was parsed and written again: signed {name}{order}",
                    text.encode(errors="surrogatepass"),
                )


def keys(secret: str, encoding: str) -> Iterator[Variant]:
    """What the sender may have used as the key. `encoding` is the scheme's: text, base64 or hex."""
    first = _decoded(secret, encoding)
    if first is not None:
        yield Variant("", first)
    bare = secret.strip()
    unquoted = bare.strip("\"'")
    body = unquoted.removeprefix("whsec_")
    guesses = (
        ("the secret has white space around it", _decoded(bare, encoding)),
        ("the secret has quotes around it", _decoded(unquoted, encoding)),
        ("the sender's secret has a line break at its end", f"{bare}\n".encode()),
        ("the sender uses the secret as text, not decoded", bare.encode()),
        ("the sender uses the secret as text, without whsec_", body.encode()),
        ('the secret is base64: key_encoding = "base64"', _decoded(body, "base64")),
        ('the secret is hex: key_encoding = "hex"', _decoded(body, "hex")),
        ("the secret is in the wrong case: the sender's is lower", unquoted.lower().encode()),
        ("the secret is in the wrong case: the sender's is upper", unquoted.upper().encode()),
    )
    for text, key in guesses:
        if key is not None and key != first:
            yield Variant(text, key)


def _decoded(secret: str, encoding: str) -> bytes | None:
    try:
        if encoding == "hex":
            return bytes.fromhex(secret)
        if encoding == "base64":
            text = secret.removeprefix("whsec_").rstrip("=")
            return b64decode(text + "=" * (-len(text) % 4), altchars=None, validate=True)
        return secret.encode(errors="surrogatepass")
    except ValueError:
        return None


def timestamps(text: str) -> Iterator[Variant]:
    """How a timestamp may stand in what was signed."""
    yield Variant("", text.encode())
    if text.isdigit() and len(text) == 13:
        yield Variant("seconds were signed, milliseconds sent", text[:-3].encode())
    elif text.isdigit():
        yield Variant("milliseconds were signed, seconds sent", f"{text}000".encode())
