"""Standard Webhooks: HMAC-SHA256 (`v1`) and ed25519 (`v1a`), under both families of header names.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from receiver.errors import SignatureError, UsageError
from receiver.signatures.reading import (
    by_name,
    check_age,
    is_message_id,
    read_seconds,
    split_entries,
)
from receiver.signatures.verdict import RawHeaders, Verified

MAX_ED25519_ENTRIES = 8
"""Each costs a pass over the body and a curve operation, before anything is proven."""

_NAMES = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_SVIX_NAMES = (b"svix-id", b"svix-timestamp", b"svix-signature")


@dataclass(frozen=True, slots=True)
class StandardKey:
    """One secret: a shared key, or one half or both halves of an ed25519 pair."""

    shared: bytes | None = None
    public: Ed25519PublicKey | None = None
    private: Ed25519PrivateKey | None = None


def parse_key(text: str) -> StandardKey:
    """The key in `whsec_…`, `whpk_…` or `whsk_…`; without a prefix it is a `whsec_`.

    Raises ValueError, which never contains the key, if it is none.
    """
    prefix, _, _ = text.partition("_")
    if prefix == "whpk":
        raw = _decode(text[5:])
        if len(raw) != 32:
            raise ValueError(f"is a whpk_ of {len(raw)} bytes; an ed25519 public key has 32")
        return StandardKey(public=Ed25519PublicKey.from_public_bytes(raw))
    if prefix == "whsk":
        return _private_key(_decode(text[5:]))
    return StandardKey(shared=_decode(text.removeprefix("whsec_")))


def _private_key(raw: bytes) -> StandardKey:
    """From the seed, or as Svix writes it the seed and the public key: 32 or 64 bytes."""
    if len(raw) not in (32, 64):
        raise ValueError(f"is a whsk_ of {len(raw)} bytes; an ed25519 private key has 64 or 32")
    private = Ed25519PrivateKey.from_private_bytes(raw[:32])
    public = private.public_key()
    if raw[32:] and raw[32:] != public.public_bytes_raw():
        raise ValueError("is a whsk_ whose two halves are not a pair; copy it again, whole")
    return StandardKey(public=public, private=private)


def _decode(text: str) -> bytes:
    """Base64 whose padding may be left out, as the reference libraries allow for keys."""
    try:
        return b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except ValueError:  # both bad base64 and text that is not ASCII
        raise ValueError("is not base64; a Standard Webhooks secret is whsec_ and base64") from None


class StandardScheme:
    """The `Scheme` of Standard Webhooks. The options of its wire form are fixed by the spec."""

    name = "standard"
    headers = frozenset(_NAMES + _SVIX_NAMES)

    def __init__(self, keys: Sequence[StandardKey], tolerance_seconds: float) -> None:
        self._keys = tuple(keys)
        self._tolerance_seconds = tolerance_seconds
        self._shared = [
            (index, hmac.new(key.shared, digestmod="sha256"))
            for index, key in enumerate(keys)
            if key.shared is not None
        ]
        self._public = [
            (index, key.public) for index, key in enumerate(keys) if key.public is not None
        ]

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> Verified:
        """See `Scheme.verify`."""
        message_id, timestamp, value = _one_set(by_name(headers, self.headers))
        if not is_message_id(message_id, b"."):
            raise SignatureError("malformed", "the message id has a character that it can't have")
        signed_at = read_seconds(timestamp)
        check_age(signed_at, now, self._tolerance_seconds)
        content = b"%b.%b.%b" % (message_id, timestamp, body)
        index = self._matching_secret(value, content)
        return Verified(index, message_id.decode("ascii"), int(signed_at))

    def sign(
        self, body: bytes, *, message_id: str, now: float, secret_index: int = 0
    ) -> list[tuple[str, str]]:
        """See `Scheme.sign`."""
        if not is_message_id(message_id.encode(errors="surrogatepass"), b"."):
            raise UsageError(f'"{message_id}" can\'t be a message id; use letters, digits, - and _')
        timestamp = str(int(now))
        content = b"%b.%b.%b" % (
            message_id.encode(errors="surrogatepass"),
            timestamp.encode(),
            body,
        )
        key = self._keys[secret_index]
        if key.shared is not None:
            signature = "v1," + b64encode(hmac.digest(key.shared, content, "sha256")).decode()
        elif key.private is not None:
            signature = "v1a," + b64encode(key.private.sign(content)).decode()
        else:
            raise UsageError("a whpk_ key can't sign, it only verifies; give the whsk_ key")
        values = (message_id, timestamp, signature)
        return [(name.decode(), value) for name, value in zip(_NAMES, values, strict=True)]

    def _matching_secret(self, value: bytes, content: bytes) -> int:
        """The index of the secret that made one of the entries in `value`."""
        versions: dict[bytes, list[bytes]] = {}
        for entry in split_entries(value, b" "):
            version, comma, text = entry.partition(b",")
            if version and comma:
                versions.setdefault(version, []).append(text)
        index = self._matching_shared(versions.get(b"v1", []), content)
        if index is None:
            index = self._matching_public(versions.get(b"v1a", []), content)
        if index is None:
            raise self._refusal(versions)
        return index

    def _matching_shared(self, signatures: list[bytes], content: bytes) -> int | None:
        for index, keyed in self._shared if signatures else ():
            state = keyed.copy()
            state.update(content)
            expected = b64encode(state.digest())
            if any(hmac.compare_digest(expected, signature) for signature in signatures):
                return index
        return None

    def _matching_public(self, signatures: list[bytes], content: bytes) -> int | None:
        if self._public and len(signatures) > MAX_ED25519_ENTRIES:
            raise SignatureError("malformed", f"more than {MAX_ED25519_ENTRIES} v1a signatures")
        decoded = [_strict_base64(signature) for signature in signatures if self._public]
        for index, public in self._public:
            if any(_is_signed_by(public, signature, content) for signature in decoded):
                return index
        return None

    def _refusal(self, versions: dict[bytes, list[bytes]]) -> SignatureError:
        """Why none matched: `malformed` if none could match for any secret."""
        if not versions:
            return SignatureError("malformed", "not a list like v1,BASE64 v1,BASE64")
        shared = versions.get(b"v1") if self._shared else None
        asymmetric = versions.get(b"v1a") if self._public else None
        if not shared and not asymmetric:
            return SignatureError("unsupported", "no signature of a version that a secret is for")
        sizes = [len(_strict_base64(text)) == 32 for text in shared or ()]
        sizes += [len(_strict_base64(text)) == 64 for text in asymmetric or ()]
        if any(sizes):
            return SignatureError("mismatch", "signed with another secret, or changed on its way")
        return SignatureError("malformed", "a signature is not the base64 of its length")


def _one_set(found: dict[bytes, bytes]) -> tuple[bytes, bytes, bytes]:
    """Id, timestamp and signature from one family of names, which the other does not contradict.

    A sender may send both families. What differs between them is refused, so that nobody can
    have one family verified and the other one read.
    """
    ours = tuple(map(found.get, _NAMES))
    svix = tuple(map(found.get, _SVIX_NAMES))
    for one, other in zip(ours, svix, strict=True):
        if one is not None and other is not None and one != other:
            raise SignatureError("ambiguous", "the webhook-* and the svix-* headers differ")
    for message_id, timestamp, signature in (ours, svix):
        if message_id is not None and timestamp is not None and signature is not None:
            return message_id, timestamp, signature
    raise SignatureError("missing", "needs webhook-id, webhook-timestamp and webhook-signature")


def _strict_base64(text: bytes) -> bytes:
    """What the canonical, padded base64 says; nothing for any other text."""
    try:
        raw = b64decode(text, validate=True)
    except Base64Error:
        return b""
    return raw if b64encode(raw) == text else b""


def _is_signed_by(public: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    if len(signature) != 64:
        return False
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True
