"""JWTs: HS256 over base64url JSON (RFC 7515, RFC 7519), with nothing but the standard library."""

import base64
import hashlib
import hmac
import json
from typing import Any, Literal

from pydantic import BaseModel

TokenType = Literal["access", "refresh", "mfa"]
_HEADER = {"typ": "JWT", "alg": "HS256"}


class Claims(BaseModel):
    """What a token says. `iat` and `exp` are Unix seconds in the sandbox's time."""

    token_type: TokenType
    user_id: int
    generation: int
    jti: str
    iat: int
    exp: int


class BadToken(ValueError):
    """The text is no token of ours."""


def encode(claims: Claims, key: bytes) -> str:
    """The compact form, `header.payload.signature`."""
    signed = f"{_pack(_HEADER)}.{_pack(claims.model_dump())}"
    return f"{signed}.{_base64url(_sign(signed, key))}"


def decode(token: str, key: bytes) -> Claims:
    """The claims of a token that was signed with `key`; its `exp` is for the caller to judge.

    Total: any text gives claims or `BadToken`.
    """
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        is_ours = hmac.compare_digest(_unbase64url(signature), _sign(signed, key))
        if is_ours and json.loads(_unbase64url(header)) == _HEADER:
            return Claims.model_validate_json(_unbase64url(payload))
    except ValueError as error:  # not base64, not ASCII, not JSON, not these claims
        raise BadToken("not a token") from error
    raise BadToken("not signed by this key")


def _sign(signed: str, key: bytes) -> bytes:
    return hmac.digest(key, signed.encode(), hashlib.sha256)


def _pack(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
