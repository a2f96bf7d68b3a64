"""Sources of every scheme for the tests here, and requests as ASGI would hand them over."""

from dataclasses import dataclass

from receiver.signatures import Scheme, SchemeSpec, build_scheme

NOW = 1_700_000_000
BODY = b'{"event":"goal.milestone_reached","timestamp":"2025-07-15T08:00:00Z","data":{"goal":7}}'
TEXT_SECRETS = ("made-up-secret-number-one", "made-up-secret-number-two")
WHSEC = ("whsec_bWFkZS11cC1zaGFyZWQta2V5LTE=", "whsec_bWFkZS11cC1zaGFyZWQta2V5LTI=")
WHSK = (
    "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=",
    "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=",
)

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Source:
    """A scheme by a name for test ids, with its secrets."""

    name: str
    spec: SchemeSpec
    secrets: tuple[str, ...]

    def build(self, *, keep: int = 2) -> Scheme:
        """The scheme with the first `keep` of its secrets."""
        return build_scheme(self.spec, self.secrets[:keep])

    def __str__(self) -> str:
        return self.name


def raw(headers: list[tuple[str, str]]) -> Pairs:
    """Headers as a server hands them over: lower-case names, bytes."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]


def signed(
    scheme: Scheme, body: bytes = BODY, *, message_id: str = "msg_1", key: int = 0, now: float = NOW
) -> Pairs:
    """The headers of a genuine request."""
    return raw(scheme.sign(body, message_id=message_id, now=now, secret_index=key))


SOURCES = (
    *(
        Source(name, SchemeSpec(scheme=name), TEXT_SECRETS)
        for name in ("claribi", "github", "stripe", "slack", "shopify")
    ),
    Source("standard-v1", SchemeSpec(scheme="standard"), WHSEC),
    Source("standard-v1a", SchemeSpec(scheme="standard"), WHSK),
    Source(
        "hmac-sha512-base64url-id",
        SchemeSpec(
            scheme="hmac",
            header="X-Sig",
            digest="sha512",
            encoding="base64url",
            signed="v2:{id}:{timestamp}:{body}",
            id_header="X-Id",
            timestamp_header="X-Time",
            timestamp_format="milliseconds",
        ),
        TEXT_SECRETS,
    ),
    Source(
        "hmac-sha1-iso",
        SchemeSpec(
            scheme="hmac",
            header="X-Sig",
            prefix="sha1=",
            digest="sha1",
            signed="{body}\n{timestamp}",
            timestamp_header="X-Time",
            timestamp_format="iso",
        ),
        TEXT_SECRETS,
    ),
    Source(
        "hmac-sha384-list",
        SchemeSpec(
            scheme="hmac",
            header="X-Sig",
            digest="sha384",
            encoding="base64",
            elements="ts={timestamp};h1={signature}",
            signed="{timestamp}:{body}",
        ),
        TEXT_SECRETS,
    ),
)
