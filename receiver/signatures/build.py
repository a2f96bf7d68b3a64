"""From a source's options and secrets to a `Scheme`, with every fault of theirs found at once."""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence

from receiver.errors import ConfigError
from receiver.signatures.keyed import ENCODINGS, HmacScheme
from receiver.signatures.reading import TIMESTAMPS
from receiver.signatures.spec import PRESETS, SchemeSpec, Wire, resolve
from receiver.signatures.standard import StandardKey, StandardScheme, parse_key
from receiver.signatures.templates import Elements, SignedContent
from receiver.signatures.unsigned import UnsignedScheme
from receiver.signatures.verdict import Scheme

MIN_SECRET_BYTES = 16
"""A shorter secret can be guessed from one signed request."""

DIGESTS = ("sha1", "sha256", "sha384", "sha512")
KEY_ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "text": str.encode,
    "base64": lambda text: b64decode(text, validate=True),
    "hex": bytes.fromhex,
}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_GENERATOR = 'python3 -c "import secrets; print(secrets.token_hex(32))"'


def build_scheme(spec: SchemeSpec, secrets: Sequence[str]) -> Scheme:
    """The scheme, ready to verify and to sign.

    Raises ConfigError with every fault of the options and secrets; it never contains a secret.
    """
    if spec.scheme not in PRESETS:
        raise ConfigError(f'scheme "{spec.scheme}" is unknown; use one of {_listed(PRESETS)}')
    problems: list[str] = []
    if not (math.isfinite(spec.tolerance_seconds) and spec.tolerance_seconds > 0):
        problems.append("tolerance must be a time longer than 0, for example 5m")
    if spec.scheme in ("none", "standard"):
        problems += [
            f'{name} does not apply to scheme "{spec.scheme}"; remove it, or use scheme = "hmac"'
            for name in spec.overrides
        ]
    if spec.scheme == "none":
        if secrets:
            problems.append('scheme "none" checks nothing; remove its secrets or choose a scheme')
        return _done(UnsignedScheme(), problems)
    if not secrets:
        problems.append(f'scheme "{spec.scheme}" needs secrets; set secrets = ["env:NAME"]')
    if spec.scheme == "standard":
        keys = _standard_keys(secrets, problems)
        return _done(StandardScheme(keys, spec.tolerance_seconds), problems)
    return _build_hmac(spec, secrets, problems)


def _build_hmac(spec: SchemeSpec, secrets: Sequence[str], problems: list[str]) -> Scheme:
    wire = resolve(spec)
    problems += _wire_problems(wire)
    keys: list[bytes] = []
    if wire.key_encoding in KEY_ENCODINGS:
        for number, secret in enumerate(secrets, 1):
            try:
                keys.append(_shared_key(secret, wire.key_encoding))
            except ValueError as error:
                problems.append(f"secret {number} {error}")
    if problems:
        raise ConfigError(*problems)
    return HmacScheme(spec.scheme, wire, keys, spec.tolerance_seconds)


def _done(scheme: Scheme, problems: list[str]) -> Scheme:
    if problems:
        raise ConfigError(*problems)
    return scheme


def _standard_keys(secrets: Sequence[str], problems: list[str]) -> list[StandardKey]:
    keys: list[StandardKey] = []
    for number, secret in enumerate(secrets, 1):
        try:
            key = parse_key(secret)
            if key.shared is not None:
                _check_length(key.shared)
            keys.append(key)
        except ValueError as error:
            problems.append(f"secret {number} {error}")
    return keys


def _shared_key(secret: str, encoding: str) -> bytes:
    """The key's bytes. Raises ValueError, which never contains the secret."""
    if secret != secret.strip():
        raise ValueError("has white space around it, which would be part of the key; remove it")
    try:
        key = KEY_ENCODINGS[encoding](secret)
    except ValueError:
        raise ValueError(f"is not {encoding}; correct it or set key_encoding") from None
    _check_length(key)
    return key


def _check_length(key: bytes) -> None:
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(
            f"has {len(key)} bytes; use at least {MIN_SECRET_BYTES}, for example from {_GENERATOR}"
        )


def _wire_problems(wire: Wire) -> list[str]:
    problems = [
        f'{name} "{value}" is unknown; use one of {_listed(known)}'
        for name, value, known in (
            ("digest", wire.digest, DIGESTS),
            ("encoding", wire.encoding, ENCODINGS),
            ("timestamp_format", wire.timestamp_format, TIMESTAMPS),
            ("key_encoding", wire.key_encoding, KEY_ENCODINGS),
        )
        if value not in known
    ]
    problems += _header_problems(wire)
    problems += [
        f"{name} must be printable ASCII text: it goes into a header"
        for name, value in (("prefix", wire.prefix), ("elements", wire.elements))
        if not (value.isascii() and value.isprintable())
    ]
    return problems + _template_problems(wire)


def _header_problems(wire: Wire) -> list[str]:
    problems: list[str] = []
    if not wire.header:
        problems.append('header is not set; name the header with the signature: "X-Signature"')
    names = [name for name in (wire.header, wire.timestamp_header, wire.id_header) if name]
    problems += [
        f'"{name}" is no header name; use letters, digits and -'
        for name in names
        if not _HEADER_NAME.fullmatch(name)
    ]
    if len({name.lower() for name in names}) != len(names):
        problems.append("header, timestamp_header and id_header must be different headers")
    if wire.prefix and wire.elements:
        problems.append("prefix and elements exclude each other; set only one of them")
    return problems


def _template_problems(wire: Wire) -> list[str]:
    """Faults of `signed` and `elements`, and of what they need from each other."""
    problems: list[str] = []
    fields: frozenset[str] = frozenset()
    has_timestamp = bool(wire.timestamp_header)
    try:
        fields = SignedContent(wire.signed).fields
    except ValueError as error:
        return [f"signed {error}"]
    try:
        if wire.elements and Elements(wire.elements).timestamp_name:
            if has_timestamp:
                problems.append("elements and timestamp_header both have the timestamp; set one")
            has_timestamp = True
    except ValueError as error:
        return [f"elements {error}"]
    if "timestamp" in fields and not has_timestamp:
        problems.append("signed has {timestamp}, but no timestamp is sent; set timestamp_header")
    if has_timestamp and "timestamp" not in fields:
        problems.append(
            "a timestamp that is not signed proves nothing; add {timestamp} to signed, "
            'or set timestamp_header = "" (or elements without {timestamp})'
        )
    if "id" in fields and not wire.id_header:
        problems.append("signed has {id}, but no id is sent; set id_header")
    return problems


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
