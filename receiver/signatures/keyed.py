"""The `hmac` family: claribi, github, stripe, slack, shopify, and whatever a source describes.

They all put an HMAC of some content into a header and differ only in their `Wire`. What a
stranger sent is never decoded: the signature that we expect is encoded, and the two texts are
compared. So there is nothing in a header that could fail to decode, and of base64 only the
canonical form is accepted.
"""

import hmac
from base64 import b64encode, urlsafe_b64encode
from binascii import hexlify
from collections.abc import Callable, Sequence

from receiver.errors import SignatureError, UsageError
from receiver.signatures.reading import (
    TIMESTAMPS,
    by_name,
    check_age,
    is_message_id,
    needed,
    split_entries,
)
from receiver.signatures.spec import Wire
from receiver.signatures.templates import Elements, SignedContent
from receiver.signatures.verdict import RawHeaders, Verified

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "hex": hexlify,
    "base64": b64encode,
    "base64url": urlsafe_b64encode,
}

_Given = tuple[list[bytes], bytes | None]
"""The signatures in a header, and the timestamp if it is in there too."""


class HmacScheme:
    """A `Scheme` made of a `Wire` (checked by `build_scheme`) and keys."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        keys: Sequence[bytes],
        tolerance_seconds: float,
    ) -> None:
        self.name = name
        self._wire = wire
        self._tolerance_seconds = tolerance_seconds
        # Copying a keyed state is cheaper than keying a new one for every request.
        self._keyed = [hmac.new(key, digestmod=wire.digest) for key in keys]
        self._encode = ENCODINGS[wire.encoding]
        self._size_bytes = len(self._encode(bytes(self._keyed[0].digest_size)))
        self._content = SignedContent(wire.signed)
        self._elements = Elements(wire.elements) if wire.elements else None
        self._read_value = self._read_list if self._elements else self._read_whole
        self._prefix = wire.prefix.encode()
        self._header, self._timestamp_header, self._id_header = (
            wanted.lower().encode()
            for wanted in (wire.header, wire.timestamp_header, wire.id_header)
        )
        self.headers = frozenset({self._header, self._timestamp_header, self._id_header} - {b""})
        self._has_timestamp = "timestamp" in self._content.fields
        self._has_id = "id" in self._content.fields
        self._read_timestamp, self._write_timestamp = TIMESTAMPS[wire.timestamp_format]

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> Verified:
        """See `Scheme.verify`."""
        found = by_name(headers, self.headers)
        signatures, timestamp = self._read_value(needed(found, self._header))
        values = {b"body": body}
        signed_at = message_id = None
        if self._has_timestamp:
            if timestamp is None:
                timestamp = needed(found, self._timestamp_header)
            moment = self._read_timestamp(timestamp)
            check_age(moment, now, self._tolerance_seconds)
            values[b"timestamp"], signed_at = timestamp, int(moment)
        if self._has_id:
            values[b"id"] = self._message_id(found)
            message_id = values[b"id"].decode("ascii")
        content = self._content.fill(values)
        for index in range(len(self._keyed)):
            expected = self._signature(index, content)
            for signature in signatures:
                if hmac.compare_digest(expected, signature):
                    return Verified(index, message_id, signed_at)
        raise self._refusal(signatures)

    def sign(
        self, body: bytes, *, message_id: str, now: float, secret_index: int = 0
    ) -> list[tuple[str, str]]:
        """See `Scheme.sign`."""
        wire, timestamp = self._wire, self._write_timestamp(now)
        sent_id = message_id.encode(errors="surrogatepass")
        if self._id_header and not is_message_id(sent_id, self._content.id_separator):
            raise UsageError(f'"{message_id}" can\'t be a message id here; use letters and digits')
        values = {b"body": body, b"timestamp": timestamp.encode(), b"id": sent_id}
        signature = self._signature(secret_index, self._content.fill(values)).decode()
        signed = wire.prefix + signature
        if wire.elements:
            signed = wire.elements.format(timestamp=timestamp, signature=signature)
        pairs = [(wire.header, signed)]
        if wire.timestamp_header:
            pairs.append((wire.timestamp_header, timestamp))
        if wire.id_header:
            pairs.append((wire.id_header, message_id))
        return pairs

    def _signature(self, secret_index: int, content: bytes) -> bytes:
        state = self._keyed[secret_index].copy()
        state.update(content)
        return self._encode(state.digest())

    def _read_whole(self, value: bytes) -> _Given:
        """The header is one signature behind a prefix."""
        if not value.startswith(self._prefix):
            raise SignatureError("malformed", f'does not begin with "{self._wire.prefix}"')
        return [self._canonical(value[len(self._prefix) :])], None

    def _read_list(self, value: bytes) -> _Given:
        """The header is a list like `t=…,v1=…,v1=…`; elements with other names are skipped."""
        assert self._elements is not None, "only chosen where the wire has elements"
        signatures: list[bytes] = []
        timestamp: bytes | None = None
        others = 0
        for entry in split_entries(value, self._elements.separator):
            name, equals, text = entry.strip(b" \t").partition(b"=")
            if name == self._elements.signature_name:
                signatures.append(self._canonical(text))
            elif name == self._elements.timestamp_name and equals:
                if timestamp is not None:
                    raise SignatureError("ambiguous", "the timestamp is there twice")
                timestamp = text
            else:
                others += bool(name and equals)
        if not signatures:
            reason = "unsupported" if others else "malformed"
            raise SignatureError(reason, f"no signature in the form {self._elements.template}")
        if timestamp is None and self._elements.timestamp_name:
            raise SignatureError("missing", "no timestamp beside the signature")
        return signatures, timestamp

    def _canonical(self, text: bytes) -> bytes:
        """The signature as we would write it: hex in lower case, base64url with its padding."""
        if self._wire.encoding == "hex":
            return text.lower()
        if self._wire.encoding == "base64url" and not text.endswith(b"="):
            return text + b"=" * (-len(text) % 4)
        return text

    def _message_id(self, found: dict[bytes, bytes]) -> bytes:
        message_id = needed(found, self._id_header)
        if not is_message_id(message_id, self._content.id_separator):
            raise SignatureError("malformed", "the message id has a character that it can't have")
        return message_id

    def _refusal(self, signatures: list[bytes]) -> SignatureError:
        """Why none of these matched: `malformed` if none could match for any secret."""
        alphabet = _ALPHABETS[self._wire.encoding]
        if any(len(text) == self._size_bytes and not text.strip(alphabet) for text in signatures):
            return SignatureError("mismatch", "signed with another secret, or changed on its way")
        return SignatureError("malformed", f"not a {self._wire.digest} in {self._wire.encoding}")


_DIGITS_AND_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHABETS = {
    "hex": b"0123456789abcdef",
    "base64": _DIGITS_AND_LETTERS + b"+/=",
    "base64url": _DIGITS_AND_LETTERS + b"-_=",
}
