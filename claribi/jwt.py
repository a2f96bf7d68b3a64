"""What a client may read in a JWT: how long it lives. Its signature is the server's business."""

import base64
import binascii
from dataclasses import dataclass

import pydantic_core

_LONGEST_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a token was issued and when it expires, in Unix seconds by the server's clock."""

    expires_at: float
    issued_at: float | None


def lifetime_of(token: str) -> Lifetime | None:
    """The lifetime that a token states; None if it can't be read (then a 401 tells its end)."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST_TOKEN:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = pydantic_core.from_json(payload)
    except (ValueError, binascii.Error):
        return None
    if not isinstance(claims, dict):
        return None
    expires_at = _moment(claims.get("exp"))
    return None if expires_at is None else Lifetime(expires_at, _moment(claims.get("iat")))


def _moment(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < 2**40 else None


def renewal_margin(ttl_seconds: float) -> float:
    """How long before its end a token is renewed: 60 s or a tenth of its life, if that is more;
    never more than half of it, or a short-lived token would be renewed for every call.
    """
    return min(max(60.0, ttl_seconds / 10), ttl_seconds / 2)
