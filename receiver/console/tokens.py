"""Tokens: what they look like, and what the store keeps of them. Pure but for chance."""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "clarihook_tk_"
"""So that people and secret scanners know one when they see it."""

_TOKEN: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_token() -> str:
    """A token of 256 random bits, which nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes | None:
    """Its SHA-256, by which the store knows it; None for a text that is no token.

    >>> digest_of("password"), len(digest_of(new_token()) or b"")
    (None, 32)
    """
    return hashlib.sha256(token.encode()).digest() if _TOKEN.fullmatch(token) else None
