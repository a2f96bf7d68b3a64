"""The schemes as data: what each one puts where, and what a source may override."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class SchemeSpec:
    """A source's choice of scheme. Every `None` takes what the scheme itself says (`WIRES`)."""

    scheme: str
    tolerance_seconds: float = 300
    """How far a signed timestamp may be from now, in either direction."""
    header: str | None = None
    prefix: str | None = None
    elements: str | None = None
    digest: str | None = None
    encoding: str | None = None
    signed: str | None = None
    timestamp_header: str | None = None
    timestamp_format: str | None = None
    id_header: str | None = None
    key_encoding: str | None = None

    @property
    def overrides(self) -> dict[str, str]:
        """The options that this source sets itself."""
        values = {field.name: getattr(self, field.name) for field in fields(Wire)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Wire:
    """How an HMAC signature travels. An empty string means that there is no such thing."""

    header: str
    """The header with the signature."""
    prefix: str = ""
    """What stands before a signature that fills its header: `sha256=`."""
    elements: str = ""
    """The form of a header that is a list: `t={timestamp},v1={signature}`."""
    digest: str = "sha256"
    encoding: str = "hex"
    signed: str = "{body}"
    """What is signed, from {body}, {timestamp} and {id}."""
    timestamp_header: str = ""
    timestamp_format: str = "seconds"
    id_header: str = ""
    """The header with the message id; it is trusted only if `signed` has {id}."""
    key_encoding: str = "text"
    """How the key is written in the settings: text (the key is its UTF-8), base64 or hex."""


WIRES: Mapping[str, Wire] = MappingProxyType(
    {
        # Our own assumption: clariBI's reference names no header (docs/signatures.md).
        "claribi": Wire(
            header="X-ClariBI-Signature",
            elements="t={timestamp},v1={signature}",
            signed="{timestamp}.{body}",
        ),
        # https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
        "github": Wire(
            header="X-Hub-Signature-256", prefix="sha256=", id_header="X-GitHub-Delivery"
        ),
        # https://docs.stripe.com/webhooks#verify-manually
        "stripe": Wire(
            header="Stripe-Signature",
            elements="t={timestamp},v1={signature}",
            signed="{timestamp}.{body}",
        ),
        # https://docs.slack.dev/authentication/verifying-requests-from-slack
        "slack": Wire(
            header="X-Slack-Signature",
            prefix="v0=",
            signed="v0:{timestamp}:{body}",
            timestamp_header="X-Slack-Request-Timestamp",
        ),
        # https://shopify.dev/docs/apps/build/webhooks/verify-deliveries
        "shopify": Wire(
            header="X-Shopify-Hmac-Sha256", encoding="base64", id_header="X-Shopify-Webhook-Id"
        ),
        "hmac": Wire(header=""),
    }
)
"""The schemes that are an HMAC in a header. `hmac` has no header of its own: the source says it."""


def resolve(spec: SchemeSpec) -> Wire:
    """The scheme's wire form with the source's overrides in it.

    `prefix` and `elements` are two answers to one question, so that setting the one drops
    what the scheme says of the other.
    """
    overrides = spec.overrides
    if "prefix" in overrides:
        overrides.setdefault("elements", "")
    elif overrides.get("elements"):
        overrides["prefix"] = ""
    return replace(WIRES[spec.scheme], **overrides)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Where a scheme's events carry what ingress needs, unless the source says otherwise.

    A place is `header:NAME`, `json:/pointer` or `body` (all of it).
    """

    type_from: str
    """Where the event type is."""
    id_from: str | None = None
    """Where the sender's own id is, to show to people."""
    dedupe: str = "body"
    """What tells one message from another where `Verified.message_id` is None, and `body` where
    that place is empty. docs/signatures.md says why each scheme has the one that it has."""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "standard": Preset(
            type_from="json:/type", id_from="header:webhook-id", dedupe="header:webhook-id"
        ),
        "claribi": Preset(type_from="json:/event"),
        "github": Preset(type_from="header:X-GitHub-Event", id_from="header:X-GitHub-Delivery"),
        "stripe": Preset(type_from="json:/type", id_from="json:/id", dedupe="json:/id"),
        "slack": Preset(
            type_from="json:/event/type", id_from="json:/event_id", dedupe="json:/event_id"
        ),
        "shopify": Preset(
            type_from="header:X-Shopify-Topic",
            id_from="header:X-Shopify-Webhook-Id",
            dedupe="header:X-Shopify-Webhook-Id",
        ),
        "hmac": Preset(type_from="json:/event"),
        "none": Preset(type_from="json:/event"),
    }
)
"""Every scheme, by its name in the settings."""
