"""Sessions: a signed cookie that says with which token somebody has signed in, and until when.

Nothing of them is stored, so any process that serves the console knows them. They end with their
token: it is looked up at each request.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

SESSION_SECONDS: Final = 12 * 3600
MAX_SESSION_BYTES: Final = 200

_SESSION_PURPOSE: Final = b"clarihook console session 1\n"
_FORM_PURPOSE: Final = b"clarihook console form 1\n"
_COOKIE: Final = re.compile(
    r"(?P<claims>(?P<token>[0-9]{1,18})\.(?P<end>[0-9]{1,12})\.[0-9a-f]{32})\.(?P<mac>[0-9a-f]{64})",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who has signed in."""

    token_id: int
    cookie: str
    """As the browser keeps it."""


def begin(key: bytes, token_id: int, *, now_seconds: float) -> Session:
    """A new session, for whoever has that token."""
    end = int(now_seconds) + SESSION_SECONDS
    claims = f"{token_id}.{end}.{secrets.token_hex(16)}"
    return Session(token_id=token_id, cookie=f"{claims}.{_mac(key, _SESSION_PURPOSE, claims)}")


def read(key: bytes, cookie: str, *, now_seconds: float) -> Session | None:
    """The session of a cookie; None if it is forged, cut, changed or over. Never raises.

    >>> session = begin(b"k" * 32, 7, now_seconds=0)
    >>> read(b"k" * 32, session.cookie, now_seconds=SESSION_SECONDS - 1) == session
    True
    >>> read(b"k" * 32, session.cookie, now_seconds=SESSION_SECONDS) is None
    True
    """
    found = _COOKIE.fullmatch(cookie) if len(cookie) <= MAX_SESSION_BYTES else None
    if found is None or not hmac.compare_digest(
        _mac(key, _SESSION_PURPOSE, found["claims"]), found["mac"]
    ):
        return None
    if now_seconds >= int(found["end"]):
        return None
    return Session(token_id=int(found["token"]), cookie=cookie)


def form_token(key: bytes, session: Session) -> str:
    """What each form of that session carries, so that no other site can send one."""
    return _mac(key, _FORM_PURPOSE, session.cookie)


def _mac(key: bytes, purpose: bytes, text: str) -> str:
    return hmac.new(key, purpose + text.encode(), hashlib.sha256).hexdigest()
