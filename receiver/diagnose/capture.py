"""A captured request in the forms in which people have one: a curl command, a HAR entry.

Pure functions, but for the files that a curl command refers to: `read_file` reads those.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.diagnose.request import Headers

ReadFile = Callable[[str], bytes]

_DATA = ("-d", "--data", "--data-ascii", "--data-raw", "--data-binary", "--json")
_WITH_VALUE = frozenset(
    {"-A", "--user-agent", "-b", "--cookie", "-e", "--referer", "-m", "--max-time", "-o",
     "--output", "-u", "--user", "-w", "--write-out", "-x", "--proxy", "-X", "--request", "--url",
     "--cacert", "--cert", "--key", "--connect-timeout", "--retry", "--resolve", "--interface"}
)  # fmt: skip
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
            "e": "\x1b", "E": "\x1b", "\\": "\\", "'": "'", '"': '"', "?": "?"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Captured:
    """The request in question."""

    headers: Headers
    body: bytes
    at: float | None = None
    """When it was sent, in Unix seconds, if the capture says."""


def from_curl(command: str, read_file: ReadFile) -> Captured:
    """The request that a `curl` command sends, as a shell and curl would read it.

    Raises ValueError for what is no such command, or sends no body of its own (a form, a file
    to upload).
    """
    words = _shell_words(command)
    if not words or words[0].rpartition("/")[2] not in ("curl", "curl.exe"):
        raise ValueError("it does not begin with curl")
    headers: list[tuple[str, str]] = []
    parts: list[bytes] = []
    for option, value in _options(words[1:]):
        if option in ("-H", "--header"):
            headers += _headers(value, read_file)
        elif option in _DATA:
            parts.append(_data(option, value, read_file))
            if option == "--json":
                headers.append(("content-type", "application/json"))
        elif option in ("-F", "--form", "-T", "--upload-file", "--data-urlencode"):
            raise ValueError(f"{option} makes a body that is not in the command; capture the bytes")
    separator = b"" if "--json" in words else b"&"
    return Captured(headers=headers, body=separator.join(parts))


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Those options that have a value, with it; curl takes none after an equals sign."""
    rest = iter(words)
    takes_value = {"-H", "--header", "-F", "--form", "-T", "--upload-file", "--data-urlencode"}
    for word in rest:
        name = word if word.startswith("--") else word[:2]
        if name not in takes_value and name not in _DATA and name not in _WITH_VALUE:
            continue
        # -HName:value
        yield name, word[2:] if len(word) > len(name) else next(rest, "")


def _headers(value: str, read_file: ReadFile) -> Iterator[tuple[str, str]]:
    lines = [value]
    if value.startswith("@"):
        lines = read_file(value[1:]).decode("utf-8", "surrogateescape").splitlines()
    for line in lines:
        name, colon, text = line.partition(":")
        if colon and text.strip():  # `Name:` takes one of curl's own away
            yield name.strip(), text.strip()


def _data(option: str, value: str, read_file: ReadFile) -> bytes:
    if not value.startswith("@") or option == "--data-raw":
        return value.encode("utf-8", "surrogateescape")
    content = read_file(value[1:])
    if option in ("--data-binary", "--json"):
        return content
    # https://curl.se/docs/manpage.html#-d: carriage returns, newlines and null bytes are dropped.
    return content.translate(None, b"\r\n\0")


def _shell_words(text: str) -> list[str]:
    """The words of a POSIX shell's command, with bash's `$'…'`, which browsers copy.

    >>> _shell_words(r'''curl "a b" 'c d'\\''e' $'f\\n\\u00e9' \\''')
    ['curl', 'a b', "c d'e", 'f\\né']

    Raises ValueError for a quote that is not closed.
    """
    words: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(text):
        char = text[position]
        if char.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
            position += 1
            continue
        if text.startswith(("\\\n", "\\\r\n"), position):
            position += 2 + (text[position + 1] == "\r")
            continue
        found, position = _piece(text, position)
        word = [*(word or []), found]
    return words if word is None else [*words, "".join(word)]


def _piece(text: str, start: int) -> tuple[str, int]:
    """The quoted or bare text at `start`, and where it ends."""
    if text.startswith("$'", start):
        return _ansi(text, start + 2)
    if text[start] == "'":
        end = text.find("'", start + 1)
        if end < 0:
            raise ValueError("a ' is not closed")
        return text[start + 1 : end], end + 1
    if text[start] == '"':
        return _double(text, start + 1)
    if text[start] == "\\":
        return text[start + 1 : start + 2], start + 2
    return text[start], start + 1


def _double(text: str, position: int) -> tuple[str, int]:
    found: list[str] = []
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and text[position + 1 : position + 2] in ('"', "\\", "$", "`"):
            position += 1
        elif text.startswith("\\\n", position):
            position += 2
            continue
        found.append(text[position])
        position += 1
    if position >= len(text):
        raise ValueError('a " is not closed')
    return "".join(found), position + 1


def _ansi(text: str, position: int) -> tuple[str, int]:
    found = bytearray()
    while position < len(text) and text[position] != "'":
        if text[position] != "\\":
            found += text[position].encode("utf-8", "surrogateescape")
            position += 1
            continue
        kind = text[position + 1 : position + 2]
        digits = {"x": 2, "u": 4, "U": 8}.get(kind)
        if digits is None:
            found += _ESCAPES.get(kind, f"\\{kind}").encode()
            position += 2
            continue
        end = position + 2
        while end < position + 2 + digits and text[end : end + 1] in set("0123456789abcdefABCDEF"):
            end += 1
        if end == position + 2:
            raise ValueError(f"\\{kind} without digits")
        number = int(text[position + 2 : end], 16)
        found += bytes([number]) if kind == "x" else chr(number).encode("utf-8", "surrogatepass")
        position = end
    if position >= len(text):
        raise ValueError("a $' is not closed")
    return found.decode("utf-8", "surrogateescape"), position + 1


def from_har(text: str, number: int | None) -> Captured:
    """The request of a HAR's entry `number`, counted from 1, or of the only one with a body.

    `text` is a whole archive or one entry of one. Raises ValueError.
    """
    document = json.loads(text)
    entries = _entries(document)
    if number is None:
        with_body = [n for n, entry in enumerate(entries, 1) if "postData" in entry["request"]]
        if len(with_body) != 1:
            which = ", ".join(map(str, with_body[:20])) or "none"
            raise ValueError(f"say which entry: --entry N; those with a body are: {which}")
        (number,) = with_body
    if not 1 <= number <= len(entries):
        raise ValueError(f"there is no entry {number}; it has {len(entries)}")
    entry = entries[number - 1]
    request = entry["request"]
    posted = request.get("postData") or {}
    body = str(posted.get("text", ""))
    return Captured(
        headers=[(str(each["name"]), str(each["value"])) for each in request["headers"]],
        body=b64decode(body) if posted.get("encoding") == "base64" else body.encode(),
        at=_moment(entry.get("startedDateTime")),
    )


def _entries(document: Any) -> list[Mapping[str, Any]]:
    if isinstance(document, dict) and "request" in document:
        return [document]
    try:
        entries = document["log"]["entries"]
        if all(isinstance(entry["request"]["headers"], list) for entry in entries):
            return list(entries)
    except (KeyError, TypeError):
        pass
    raise ValueError("it is neither an HTTP archive (log.entries) nor one entry of one")


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
