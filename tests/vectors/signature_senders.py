"""Senders of every scheme, written from the vendors' documentation and not from our code.

They sign with the standard library and `cryptography` alone, so that what is made with them can
contradict clarihook. Every key here is made up.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW = 1_700_000_000
ISO_NOW = "2023-11-14T22:13:20Z"
EVENT = (
    b'{"event":"data_source.sync_completed","timestamp":"2025-07-15T08:00:00Z",'
    b'"data":{"data_source_id":1,"data_source_name":"Production PostgreSQL",'
    b'"records_synced":15420,"duration_seconds":45}}'
)
TEXT_SECRETS = ("test-secret-one-0123456789", "test-secret-two-0123456789")
SHARED_KEYS = (b"standard-test-key-one-00", b"standard-test-key-two-00")
WHSEC = tuple("whsec_" + base64.b64encode(key).decode() for key in SHARED_KEYS)
SEEDS = (bytes(range(32)), bytes(range(32, 64)))
WHSK = tuple(
    "whsk_"
    + base64.b64encode(
        seed + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    ).decode()
    for seed in SEEDS
)
WHPK = tuple("whpk_" + base64.b64encode(base64.b64decode(key[5:])[32:]).decode() for key in WHSK)

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Sender:
    """How one scheme's sender signs. `sign(key number, body, timestamp, id)` gives a signature."""

    name: str
    scheme: dict[str, Any]
    secrets: tuple[str, ...]
    sign: Callable[[int, bytes, bytes, bytes], bytes]
    place: Callable[[bytes, bytes, bytes], Headers]
    """Headers from the signature, the timestamp and the id."""
    timestamp: bytes = b""
    """The timestamp at NOW; empty if the scheme has none."""
    message_id: bytes = b""
    """The id, if the scheme signs one."""
    bad_timestamps: tuple[bytes, ...] = ()
    decoys: tuple[bytes, ...] = ()
    """Junk to put beside a valid signature, where the scheme's header is a list."""
    separator: bytes = b""

    def request(
        self,
        body: bytes = EVENT,
        *,
        key: int = 0,
        timestamp: bytes | None = None,
        message_id: bytes | None = None,
    ) -> Headers:
        stamp = self.timestamp if timestamp is None else timestamp
        sent_id = self.message_id if message_id is None else message_id
        return self.place(self.sign(key, body, stamp, sent_id), stamp, sent_id)


SECONDS = str(NOW).encode()
BAD_SECONDS = (
    b"", b"now", b"-1700000000", b"+1700000000", b"17 00000000", b"1.7e9",
    b"1700000000.0", b"1_700_000_000", b"0x6553f100", b"1700000000000", b"9" * 400,
    "\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660".encode(),  # Arabic digits
    b"\xb9\xb2\xb3", b"\x001700000000", b"nan", b"infinity",
)  # fmt: skip


def digest(secret: bytes, content: bytes, name: str = "sha256") -> bytes:
    return hmac.new(secret, content, getattr(hashlib, name)).digest()


def hex_of(template: str, name: str = "sha256") -> Callable[[int, bytes, bytes, bytes], bytes]:
    def sign(key: int, body: bytes, timestamp: bytes, message_id: bytes) -> bytes:
        content = template.encode().replace(b"T", timestamp).replace(b"I", message_id)
        return digest(TEXT_SECRETS[key].encode(), content.replace(b"B", body), name).hex().encode()

    return sign


def raw_of(sign: Callable[[int, bytes, bytes, bytes], bytes]) -> Any:
    return lambda *given: bytes.fromhex(sign(*given).decode())


def base64_of(template: str, encode: Callable[[bytes], bytes] = base64.b64encode) -> Any:
    return lambda *given: encode(raw_of(hex_of(template))(*given))


def standard_v1(key: int, body: bytes, timestamp: bytes, message_id: bytes) -> bytes:
    content = b".".join((message_id, timestamp, body))
    return b"v1," + base64.b64encode(digest(SHARED_KEYS[key], content))


def standard_v1a(key: int, body: bytes, timestamp: bytes, message_id: bytes) -> bytes:
    content = b".".join((message_id, timestamp, body))
    return b"v1a," + base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(SEEDS[key]).sign(content)
    )


def standard_headers(family: str) -> Callable[[bytes, bytes, bytes], Headers]:
    return lambda signature, timestamp, message_id: [
        (f"{family}-Id", message_id),
        (f"{family}-Timestamp", timestamp),
        (f"{family}-Signature", signature),
    ]


def list_header(name: str) -> Callable[[bytes, bytes, bytes], Headers]:
    return lambda signature, timestamp, _: [(name, b"t=" + timestamp + b",v1=" + signature)]


LIST_DECOYS = (
    b"v1=",
    b"v1=zz",
    b"v0=" + b"0" * 64,
    b"",
    b"=",
    b"v1",
    b"\xff=\xfe",
    b"v1=" + b"0" * 64,
)
STANDARD_DECOYS = (
    b"v1,", b"v1", b"v2,AAAA", b",", b"", b"v1,not base64!", b"v1a,AAAA", b"v1,\xe9\xff",
    b"v1,a,b", b"v1," + base64.b64encode(bytes(32)),
)  # fmt: skip

CLARIBI = Sender(
    "claribi", {"scheme": "claribi"}, TEXT_SECRETS, hex_of("T.B"),
    list_header("X-ClariBI-Signature"), timestamp=SECONDS, bad_timestamps=BAD_SECONDS,
    decoys=LIST_DECOYS, separator=b",",
)  # fmt: skip
STRIPE = replace(
    CLARIBI, name="stripe", scheme={"scheme": "stripe"}, place=list_header("Stripe-Signature"),
    bad_timestamps=BAD_SECONDS[:6],
)  # fmt: skip
SLACK = Sender(
    "slack", {"scheme": "slack"}, TEXT_SECRETS, hex_of("v0:T:B"),
    lambda signature, timestamp, _: [
        ("X-Slack-Request-Timestamp", timestamp), ("X-Slack-Signature", b"v0=" + signature)
    ],
    timestamp=SECONDS, bad_timestamps=BAD_SECONDS[:6],
)  # fmt: skip
GITHUB = Sender(
    "github", {"scheme": "github"}, TEXT_SECRETS, hex_of("B"),
    lambda signature, *_: [
        ("X-GitHub-Event", b"push"),
        ("X-GitHub-Delivery", b"72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("X-Hub-Signature-256", b"sha256=" + signature),
    ],
)  # fmt: skip
SHOPIFY = Sender(
    "shopify", {"scheme": "shopify"}, TEXT_SECRETS, base64_of("B"),
    lambda signature, *_: [
        ("X-Shopify-Topic", b"orders/create"), ("X-Shopify-Hmac-Sha256", signature)
    ],
)  # fmt: skip
STANDARD = Sender(
    "standard v1", {"scheme": "standard"}, WHSEC, standard_v1, standard_headers("Webhook"),
    timestamp=SECONDS, message_id=b"msg_test_1", bad_timestamps=BAD_SECONDS,
    decoys=STANDARD_DECOYS, separator=b" ",
)  # fmt: skip
SVIX = replace(
    STANDARD, name="standard svix-*", place=standard_headers("Svix"),
    bad_timestamps=BAD_SECONDS[:2], decoys=STANDARD_DECOYS[:2],
)  # fmt: skip
ED25519 = replace(
    STANDARD, name="standard v1a", secrets=WHPK, sign=standard_v1a,
    bad_timestamps=BAD_SECONDS[:2],
)  # fmt: skip
HMAC_ID = Sender(
    "hmac sha512 base64url with id",
    {
        "scheme": "hmac", "header": "X-Sig", "prefix": "", "digest": "sha512",
        "encoding": "base64url", "signed": "{id}.{timestamp}.{body}", "id_header": "X-Msg",
        "timestamp_header": "X-Time", "timestamp_format": "milliseconds",
    },
    TEXT_SECRETS,
    lambda *given: base64.urlsafe_b64encode(raw_of(hex_of("I.T.B", "sha512"))(*given)),
    lambda signature, timestamp, message_id: [
        ("X-Sig", signature), ("X-Time", timestamp), ("X-Msg", message_id)
    ],
    timestamp=SECONDS + b"000", message_id=b"m-1",
    bad_timestamps=(b"", b"-1", b"1.5", b"1" * 16, b"17e11"),
)  # fmt: skip
HMAC_ISO = Sender(
    "hmac sha1 with iso time",
    {
        "scheme": "hmac", "header": "X-Sig", "digest": "sha1", "signed": "{timestamp}\n{body}",
        "timestamp_header": "Date-Signed", "timestamp_format": "iso",
    },
    TEXT_SECRETS, hex_of("T\nB", "sha1"),
    lambda signature, timestamp, _: [("X-Sig", signature), ("Date-Signed", timestamp)],
    timestamp=ISO_NOW.encode(),
    bad_timestamps=(
        b"", SECONDS, b"2023-11-14T22:13:20", b"2023-11-14 22:13:20Z", b"2023-13-14T22:13:20Z",
        b"2023-11-14T22:13:60Z", b"0000-00-00T00:00:00Z", b"2023-11-14T22:13:20+99:99",
        b"2023-11-14T22:13:20z", b"2023-11-14", "\uff12\uff10\uff12\uff13-11-14T22:13:20Z".encode(),
    ),
)  # fmt: skip
HMAC_LIST = Sender(
    "hmac sha384 list",
    {
        "scheme": "hmac", "header": "X-Sig", "digest": "sha384",
        "elements": "ts={timestamp};h1={signature}", "signed": "{timestamp}:{body}",
    },
    TEXT_SECRETS, hex_of("T:B", "sha384"),
    lambda signature, timestamp, _: [("X-Sig", b"ts=" + timestamp + b";h1=" + signature)],
    timestamp=SECONDS, bad_timestamps=BAD_SECONDS[:3], separator=b";",
    decoys=(b"h1=", b"h2=00", b";", b"h1=\xff"),
)  # fmt: skip
SENDERS = (
    CLARIBI, STRIPE, SLACK, GITHUB, SHOPIFY, STANDARD, SVIX, ED25519, HMAC_ID, HMAC_ISO, HMAC_LIST
)  # fmt: skip
