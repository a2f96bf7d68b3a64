"""The token of a link that acknowledges an event: who has it may, until it expires. Pure.

It is 72 characters of URL-safe base64: the event's id (16 bytes), the end in Unix seconds (6)
and an HMAC-SHA256 over both (32). 54 bytes need no padding, so each token has just one spelling.
"""

import base64
import hashlib
import hmac
import re
from typing import Final

from receiver.model import EventId

KEY_BYTES: Final = 32

_PURPOSE: Final = b"clarihook acknowledge 1\n"
_ID_BYTES, _END_BYTES = 16, 6
_SIGNED_BYTES = _ID_BYTES + _END_BYTES
_TOKEN = re.compile(r"[A-Za-z0-9_-]{72}", re.ASCII)


class ForgedToken(Exception):
    """It is no token of this key: cut, changed, or made up."""


class ExpiredToken(Exception):
    """It was made with this key, and its time is over."""


def make_token(key: bytes, event_id: EventId, *, end_seconds: int) -> str:
    """The token that acknowledges this event before that moment (Unix seconds).

    >>> token = make_token(b"k" * 32, EventId("evt_" + "0f" * 16), end_seconds=100)
    >>> len(token), read_token(b"k" * 32, token, now_seconds=99)
    (72, 'evt_0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f')
    """
    signed = bytes.fromhex(event_id.removeprefix("evt_")) + end_seconds.to_bytes(_END_BYTES, "big")
    assert len(signed) == _SIGNED_BYTES, "an event's id has 32 hex digits"
    return base64.urlsafe_b64encode(signed + _mac(key, signed)).decode()


def read_token(key: bytes, token: str, *, now_seconds: float) -> EventId:
    """The event that a token is for. Raises ForgedToken or ExpiredToken, nothing else.

    What is in it is looked at only after it is proven; the comparison takes constant time.
    """
    if not _TOKEN.fullmatch(token):
        raise ForgedToken
    raw = base64.urlsafe_b64decode(token)
    signed, mac = raw[:_SIGNED_BYTES], raw[_SIGNED_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, signed)):
        raise ForgedToken
    if now_seconds >= int.from_bytes(signed[_ID_BYTES:], "big"):
        raise ExpiredToken
    return EventId(f"evt_{signed[:_ID_BYTES].hex()}")


def _mac(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + signed, hashlib.sha256).digest()
