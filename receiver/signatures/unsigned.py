"""The scheme `none`: accepts every request, for a source that is insecure by its settings."""

from receiver.signatures.verdict import RawHeaders, Verified


class UnsignedScheme:
    """A `Scheme` that checks nothing and signs nothing."""

    name = "none"
    headers: frozenset[bytes] = frozenset()

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> Verified:  # noqa: ARG002
        """Always verified, by no secret."""
        return Verified(-1, None, None)

    def sign(
        self,
        body: bytes,  # noqa: ARG002
        *,
        message_id: str,  # noqa: ARG002
        now: float,  # noqa: ARG002
        secret_index: int = 0,  # noqa: ARG002
    ) -> list[tuple[str, str]]:
        """No headers."""
        return []
