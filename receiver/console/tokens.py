"""Tokens: what they look like, and what the store keeps of them. Pure but for chance."""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "clarihook_tk_"
"""So that people and secret scanners know one when they see it."""

_TOKEN: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_token() -> tuple[str, bytes]:
    """A token of 256 random bits, which nobody can guess, and its digest for the store.

    >>> token, digest = new_token()
    >>> digest_of(token) == digest
    True
    """
    token = PREFIX + secrets.token_urlsafe(32)
    return token, _digest(token)


def digest_of(token: str) -> bytes | None:
    """Its SHA-256, by which the store knows it; None for a text that is no token.

    >>> digest_of("password") is None
    True
    """
    return _digest(token) if _TOKEN.fullmatch(token) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
