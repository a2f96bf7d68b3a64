"""A source, prepared for the hot path: all that a request needs, looked up once at start."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from receiver.payload import check_type, pointer_reader
from receiver.rate import Pace, Rate
from receiver.settings import Settings, SourceSettings
from receiver.signatures import PRESETS, Scheme, SchemeSpec, build_scheme

RawHeaders = Mapping[bytes, bytes]

ReadType = Callable[[RawHeaders, dict[str, Any]], str]
ReadKey = Callable[[RawHeaders, bytes, dict[str, Any]], bytes]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A configured sender."""

    name: str
    scheme: Scheme
    read_type: ReadType
    """`(headers, body's object) -> event type`; raises PayloadError."""
    read_key: ReadKey
    """`(headers, body, body's object) -> dedupe key`, for messages whose signature has no id."""
    trusts_message_id: bool
    """Whether the id in the signature makes a message unique; not if `dedupe` is set."""
    read_headers: frozenset[bytes]
    """The headers that type and key are read from: there may be only one of each."""
    handshake: Callable[[dict[str, Any]], bytes | None] | None
    """`(body's object) -> answer` to a request that only sets the webhook up; None for others."""
    keeps_malformed: bool
    pace: Pace


def build_sources(settings: Settings) -> dict[str, Source]:
    """Every configured source by name; raises ConfigError for a scheme that can't be built."""
    return {name: build_source(name, source) for name, source in settings.sources.items()}


def build_source(name: str, settings: SourceSettings, pace: Pace | None = None) -> Source:
    """One of them, which goes at that pace, or begins one; raises ConfigError."""
    preset = PRESETS[settings.scheme]
    scheme = build_scheme(
        SchemeSpec(**settings.scheme_options),
        [secret.get_secret_value() for secret in settings.secrets],
    )
    type_from = settings.type or preset.type_from
    dedupe = settings.dedupe or preset.dedupe
    return Source(
        name=name,
        scheme=scheme,
        read_type=_type_reader(type_from),
        read_key=_key_reader(dedupe),
        trusts_message_id=settings.dedupe is None,
        read_headers=frozenset(_header_name(place) for place in (type_from, dedupe)) - {b""},
        handshake=_slack_handshake if settings.scheme == "slack" else None,
        keeps_malformed=settings.malformed == "store",
        pace=pace or Pace(_rate(settings)),
    )


def _rate(settings: SourceSettings) -> Rate | None:
    rate = settings.rate
    if rate is None or rate.burst is not None:
        return rate
    # A second's worth may come at once: senders deliver in bursts.
    return replace(rate, burst=max(1, round(rate.per_second)))


def _slack_handshake(value: dict[str, Any]) -> bytes | None:
    """Slack enables an endpoint once it echoes a challenge.

    https://docs.slack.dev/reference/events/url_verification
    """
    if value.get("type") != "url_verification":
        return None
    return json.dumps({"challenge": value.get("challenge")}).encode()


def _header_name(place: str) -> bytes:
    kind, _, name = place.partition(":")
    return name.lower().encode("latin-1") if kind == "header" else b""


def _type_reader(place: str) -> ReadType:
    kind, _, where = place.partition(":")
    if kind == "header":
        name = _header_name(place)
        shown = f"the header {where}"
        return lambda headers, _: check_type(headers.get(name, b"").decode("latin-1"), shown)
    read = pointer_reader(where)
    shown = f"`{where.strip('/')}` in the body"
    return lambda _, value: check_type(read(value), shown)


def _key_reader(place: str) -> ReadKey:
    """What makes a message unique; the whole body where the place is empty."""
    kind, _, where = place.partition(":")
    if kind == "body":
        return lambda _headers, body, _value: hashlib.sha256(body).digest()
    if kind == "header":
        name = _header_name(place)
        return lambda headers, body, _value: _key(headers.get(name), body)
    read = pointer_reader(where)

    def read_key(_headers: RawHeaders, body: bytes, value: dict[str, Any]) -> bytes:
        found = read(value)
        usable = isinstance(found, str | int) and not isinstance(found, bool) and found != ""
        return _key(str(found).encode() if usable else None, body)

    return read_key


def _key(found: bytes | None, body: bytes) -> bytes:
    return id_key(found) if found else hashlib.sha256(body).digest()


def id_key(message_id: bytes) -> bytes:
    """The dedupe key of a message with an id. Marked, so that no body can have the same."""
    return hashlib.sha256(b"id\0" + message_id).digest()
