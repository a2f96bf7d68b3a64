"""How a service cuts a text into messages: at most three, and none longer than it takes.

Apprise knows each service's limit in characters. Some count otherwise, and for some it is off:
a message that is a little too long is refused whole (test_notify_services.py has their rules).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from receiver.notify import content
from receiver.notify.content import Content

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of a text, as a service's plugin gets it."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class _Limit:
    most: int
    size: Callable[[Piece], int]


def _units(text: str) -> int:
    """The length in UTF-16, in which services that are written in Java or JavaScript count."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def _ntfy_bytes(piece: Piece) -> int:
    """Of its body, or as many as Apprise's plugin makes of it: above 8,000 bytes of JSON it sends
    the text as a file. It escapes all that is not ASCII, and titles count too.
    """
    escaped = len(json.dumps([piece.title, piece.body])) + 200
    return max(len(piece.body.encode("utf-8", "replace")), escaped * 4096 // 8000)


_NTFY = _Limit(4096, _ntfy_bytes)
_LIMITS = {
    # With a title, Apprise puts two characters between it and the body that it has not counted.
    "discord": _Limit(2000, lambda piece: _units(piece.title) + 2 + _units(piece.body)),
    "tgram": _Limit(4096, lambda piece: _units(piece.body)),
    # Longer ones become attachments, which a server without a place for them refuses.
    "ntfy": _NTFY,
    "ntfys": _NTFY,
}
_SLACK_BLOCK_CHARS, _SLACK_HEADER_CHARS = 3000, 150 - len(" [1/3] ")
"""What a block takes; Apprise reckons with the 35,000 of a message without blocks."""


def fit(service: Any, schema: str, text: Content) -> Content:
    """The text, cut with a notice where it would be more than three messages of the service.

    Sets the service's own limit to what it really takes of this text.
    """
    text = content.shorten(text)
    if getattr(service, "use_blocks", False):
        service.body_maxlen = _SLACK_BLOCK_CHARS
        text = replace(text, title=_header(text.title))
    if limit := _LIMITS.get(schema):
        _obey(service, limit, text)
    return content.fit(text, lambda cut: len(pieces(service, cut)))


def _header(title: str) -> str:
    while len(escape(title, quote=False)) > _SLACK_HEADER_CHARS:
        title = title[:-1]
    return title


def _obey(service: Any, limit: _Limit, text: Content) -> None:
    service.body_maxlen = min(type(service).body_maxlen, limit.most)
    for _ in range(_TRIES):
        longest = max(limit.size(piece) for piece in pieces(service, text))
        if longest <= limit.most:
            return
        service.body_maxlen = max(1, service.body_maxlen * limit.most // longest - 2)


def pieces(service: Any, text: Content) -> list[Piece]:
    """The messages that Apprise makes of the text for this service. Sends nothing."""
    from apprise import Apprise  # noqa: PLC0415 - slow

    found: list[Piece] = []

    def note(**piece: Any) -> bool:
        found.append(Piece(piece["title"], piece["body"]))
        return True

    # By the very call that sends: it converts and joins otherwise than the methods below it.
    send_piece, service._timed_send = service._timed_send, note
    try:
        apprise = Apprise(asset=service.asset)
        apprise.add(service)
        apprise.notify(body=text.body, title=text.title, body_format=text.format)
    finally:
        service._timed_send = send_piece
    return found
