"""What checking a signature gives: a `Verified`, or a `SignatureError` with one of `REASONS`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Header pairs as ASGI has them: names in lower case, values as raw bytes."""

EXPLANATIONS: Mapping[str, str] = {
    "missing": "a header, or the timestamp inside it, that the scheme needs is absent",
    "ambiguous": "a header or timestamp is there twice, or two sets of headers disagree",
    "malformed": "the signature or the message id does not have the scheme's form",
    "unsupported": "there are signatures, but none of a version that these secrets can check",
    "timestamp_malformed": "the timestamp does not have the scheme's form",
    "too_old": "the timestamp is further in the past than the tolerance",
    "too_new": "the timestamp is further in the future than the tolerance",
    "mismatch": "the signature has the right form, but no secret gives the same",
}
"""Every reason for which a signature is refused, and what it means."""

REASONS = frozenset(EXPLANATIONS)


class Verified(NamedTuple):
    """The proof that a request came from a holder of a secret. A tuple: one is made per request."""

    secret_index: int
    """Which secret matched, counted from 0; -1 if the scheme checks nothing."""
    message_id: str | None
    """The sender's id of the message, only if the signature covers it; safe to deduplicate by."""
    signed_at: int | None
    """When the sender signed, in Unix seconds, where the scheme has a timestamp."""


class Scheme(Protocol):
    """One way to sign requests, prepared for one source: its options and secrets are fixed."""

    @property
    def name(self) -> str:
        """The scheme's name in the settings."""

    @property
    def headers(self) -> frozenset[bytes]:
        """The headers that it reads, in lower case; a repeated one is refused as `ambiguous`."""

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> Verified:
        """Proof that a secret's holder signed exactly this body.

        Total: any headers and any body give a `Verified` or raise `SignatureError`, and
        nothing else. `now` is in Unix seconds. A timestamp just at the tolerance is accepted.
        """

    def sign(
        self, body: bytes, *, message_id: str, now: float, secret_index: int = 0
    ) -> list[tuple[str, str]]:
        """The headers that a sender adds to `body`, those of the message id among them.

        Raises UsageError if the id can't be sent in this scheme, or the secret can't sign.
        """
