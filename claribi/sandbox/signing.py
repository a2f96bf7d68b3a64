"""How webhooks are signed. clariBI's reference gives no scheme; this is our documented preset."""

import hashlib
import hmac
from collections.abc import Callable

Headers = list[tuple[str, str]]
Signer = Callable[[bytes, str, float], Headers]
"""`(body, message_id, now)` → headers to send; `now` is real Unix seconds."""

SIGNATURE_HEADER = "X-ClariBI-Signature"


def claribi_signer(secret: str) -> Signer:
    """The `claribi` preset: HMAC-SHA256 in hex over `{timestamp}.{body}`.

    Sent as `X-ClariBI-Signature: t={unix seconds},v1={hex}`.
    """
    key = secret.encode()

    def sign(body: bytes, message_id: str, now: float) -> Headers:  # noqa: ARG001 - not signed here
        stamp = str(int(now))
        digest = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        return [(SIGNATURE_HEADER, f"t={stamp},v1={digest}")]

    return sign
