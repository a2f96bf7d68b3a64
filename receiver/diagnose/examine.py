"""Examines one request against one scheme and secret."""

import hmac
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from receiver.diagnose.request import Headers, Token, ids, times, tokens
from receiver.diagnose.variants import DIGESTS, SIGNED, Variant, bodies, keys, timestamps
from receiver.errors import ConfigError, SignatureError
from receiver.signatures import SchemeSpec, Verified, build_scheme
from receiver.signatures.spec import WIRES, Wire, resolve

_ANY_AGE_SECONDS = 1e12
_LARGE_BODY_BYTES = 65_536
_MAX_SECONDS = 20.0
"""So long the search may take; large bodies take longest."""

_STANDARD = Wire(
    header="webhook-signature", elements="v1,{signature}", encoding="base64",
    signed="{id}.{timestamp}.{body}", timestamp_header="webhook-timestamp",
    id_header="webhook-id", key_encoding="base64",
)  # fmt: skip
"""Standard Webhooks in the words of the `hmac` family, to be compared with what was found."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What a scheme says of a request, and why."""

    scheme: str
    verified: Verified | None
    """If it verifies as it is."""
    refusal: str | None
    """What ingress would say; None if it verifies."""
    causes: tuple[str, ...]
    """What is wrong, the likeliest first; each was found by trying it, or no guess fitted."""
    is_explained: bool
    """Whether the causes are all that stands between the request and a valid signature."""


def examine(
    spec: SchemeSpec, secrets: Sequence[str], headers: Headers, body: bytes, now: float
) -> Examination:
    """Check the signature; if it is refused, try what may have happened to it.

    Total, as verification is: any headers and bytes give an Examination.
    """
    raw = [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
           for name, value in headers]  # fmt: skip
    try:
        verified = build_scheme(spec, secrets).verify(raw, body, now)
        return _examination(spec, verified=verified)
    except (SignatureError, ConfigError) as error:
        refusal = str(error)
    try:
        build_scheme(replace(spec, tolerance_seconds=_ANY_AGE_SECONDS), secrets).verify(
            raw, body, now
        )
    except (SignatureError, ConfigError):
        causes = _search(spec, secrets, headers, body)
        if causes is not None:
            return _examination(spec, refusal=refusal, causes=causes, is_explained=True)
        return _examination(spec, refusal=refusal, causes=_no_guess(spec, headers))
    return _examination(spec, refusal=refusal, causes=_stale(refusal), is_explained=True)


def _examination(
    spec: SchemeSpec,
    *,
    verified: Verified | None = None,
    refusal: str | None = None,
    causes: Sequence[str] = (),
    is_explained: bool = False,
) -> Examination:
    return Examination(
        scheme=spec.scheme, verified=verified, refusal=refusal,
        causes=tuple(causes), is_explained=is_explained or verified is not None,
    )  # fmt: skip


def _stale(refusal: str) -> list[str]:
    old = "the request is an old one, sent again, or one of the two clocks is wrong"
    return [f"the signature fits, but its time does not ({refusal}): {old}"]


def _no_guess(spec: SchemeSpec, headers: Headers) -> list[str]:
    wire = _wire(spec)
    names = {name.lower() for name, _ in headers}
    found: list[str] = []
    if wire.header.lower() not in names and wire.header not in ("", _STANDARD.header):
        found.append(f"there is no header {wire.header}: not sent, or a proxy took it away")
    if wire.timestamp_header and wire.timestamp_header.lower() not in names:
        found.append(f"there is no header {wire.timestamp_header}")
    if not any(True for _ in tokens(headers)):
        found.append("no header has anything in it that could be a signature")
    else:
        found.append("another secret: no guess about the body, the key or the form fits this one")
        found.append("or the body was changed in a way that can't be guessed")
    return found


def _wire(spec: SchemeSpec) -> Wire:
    if spec.scheme == "standard":
        return _STANDARD
    return resolve(spec) if spec.scheme in WIRES else Wire(header="")


def _search(
    spec: SchemeSpec, secrets: Sequence[str], headers: Headers, body: bytes
) -> list[str] | None:
    """The fewest differences that make the signature fit; None if none do."""
    wire = _wire(spec)
    by_digest: dict[bytes, list[Token]] = {}
    for token in tokens(headers):
        by_digest.setdefault(token.digest, []).append(token)
    most = 2 if len(body) > _LARGE_BODY_BYTES else 3
    end = time.monotonic() + _MAX_SECONDS
    best: list[str] | None = None
    for digest, texts in islice(_attempts(wire, secrets, headers, body, most), 500_000):
        for token in by_digest.get(digest, ()):
            causes = [*texts, *_differences(wire, token, headers)]
            if best is None or len(causes) < len(best):
                best = causes
        if time.monotonic() > end:
            break
    return best


def _attempts(
    wire: Wire, secrets: Sequence[str], headers: Headers, body: bytes, most: int
) -> Iterator[tuple[bytes, list[str]]]:
    """Every digest that the guesses lead to, with those that were needed for it: up to `most`."""
    for number, secret in enumerate(secrets, 1):
        for key in keys(secret, wire.key_encoding):
            for content in _contents(wire, headers, body):
                for digest in dict.fromkeys((wire.digest, *DIGESTS)):
                    texts = [*([key.text] if key.text else []), *content[0]]
                    if digest != wire.digest:
                        texts.append(f'the digest is {digest}: digest = "{digest}"')
                    if len(texts) <= most:
                        if len(secrets) > 1 and texts:
                            texts.append(f"(with secret {number} of {len(secrets)})")
                        yield hmac.digest(key.value, content[1], digest), texts


def _contents(wire: Wire, headers: Headers, body: bytes) -> Iterator[tuple[list[str], bytes]]:
    """Everything that may have been signed, with the guesses that it takes."""
    stamps = [v for text in times(headers) for v in timestamps(text)] or [Variant("", b"")]
    found_ids = ids(headers) or [""]
    for changed in dict.fromkeys(bodies(body)):
        for signed in dict.fromkeys((wire.signed, *SIGNED)):
            for stamp in stamps if "{timestamp}" in signed else stamps[:1]:
                for message_id in found_ids if "{id}" in signed else found_ids[:1]:
                    texts = [changed.text] if changed.text else []
                    if signed != wire.signed:
                        texts.append(f'what is signed is {signed}: signed = "{signed}"')
                    if stamp.text and "{timestamp}" in signed:
                        texts.append(stamp.text)
                    yield texts, _fill(signed, changed.value, stamp.value, message_id)


def _fill(signed: str, body: bytes, timestamp: bytes, message_id: str) -> bytes:
    head, _, tail = signed.partition("{body}")
    parts = [
        part.replace("{timestamp}", timestamp.decode()).replace("{id}", message_id).encode()
        for part in (head, tail)
    ]
    return parts[0] + body + parts[1]


def _differences(wire: Wire, token: Token, headers: Headers) -> Iterator[str]:
    """How a signature that fits stands otherwise than the scheme says."""
    expected = wire.header.lower()
    if token.header != expected and not (
        expected == _STANDARD.header and token.header == "svix-signature"
    ):
        yield f'it is in the header {token.header}: header = "{token.header}"'
    if token.encoding != wire.encoding:
        yield f'the signature is written in {token.encoding}: encoding = "{token.encoding}"'
    before = wire.prefix
    if wire.elements:
        before = wire.elements.partition("{signature}")[0].rpartition(",")[2]
        before = "v1," if wire is _STANDARD else before
    if token.before != before:
        given, wanted = token.before or "nothing", before or "nothing"
        yield f'before the signature stands {given}, not {wanted}: prefix = "{token.before}"'
    yield from _time_differences(wire, headers)


def _time_differences(wire: Wire, headers: Headers) -> Iterator[str]:
    if "{timestamp}" not in wire.signed:
        return
    stamps = times(headers)
    if stamps and all(len(stamp) == 13 for stamp in stamps) and wire.timestamp_format == "seconds":
        yield 'the timestamp is in milliseconds: timestamp_format = "milliseconds"'
    elif stamps and all("T" in stamp for stamp in stamps) and wire.timestamp_format != "iso":
        yield 'the timestamp is an ISO 8601 time: timestamp_format = "iso"'
    names = {name.lower() for name, _ in headers}
    if wire.timestamp_header and not {
        wire.timestamp_header.lower(), wire.timestamp_header.lower().replace("webhook", "svix")
    } & names:  # fmt: skip
        yield f"there is no header {wire.timestamp_header}; the timestamp stands elsewhere"
