"""Masking: no secret of a channel's URL, nor any that looks like one, leaves in a text.

Apprise's own masking is not enough: `url(privacy=True)` leaves the path and the `+Header`,
`-param` and `:payload` values of json://, form:// and xml:// in clear, and its DEBUG lines have
whole URLs and payloads (APPRISE.md, "Secrets").
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from receiver.notify.target import MAX_ERROR_BYTES
from receiver.traces import masked

MASK = "***"
MIN_SECRET_CHARS = 6
"""Shorter parts are not masked by themselves: they would blank out half of every line."""

# Words that stand in many URLs and are no secret; masking them would only spoil the logs.
PUBLIC_WORDS = frozenset(
    {
        "alerts",
        "application/json",
        "Bearer",
        "bearer",
        "channel",
        "channels",
        "critical",
        "general",
        "insecure",
        "localhost",
        "markdown",
        "message",
        "messages",
        "notify",
        "services",
        "starttls",
        "truncate",
        "upstream",
        "warning",
        "webhook",
        "webhooks",
        "workflows",
    }
)
_PATTERNS = (
    # Userinfo in any URL, and keys by their form: clariBI's, Standard Webhooks', JWTs, headers.
    (re.compile(r"(?<=://)[^\s/@?#]+(?=@)"), MASK),
    (re.compile(r"\bclaribi_[A-Za-z0-9_]{8,}"), f"claribi_{MASK}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"), f"whsec_{MASK}"),
    # Looked for once in each run of its letters: a text of many `-eyJ` would take for ever else.
    (
        re.compile(
            r"(?<![\w-])(?=[\w-]++\.[\w-]{4,})((?:[\w-]*-)??)eyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {MASK}"),
)
# C0, C1, DEL, the Unicode line ends and the marks that turn the direction of a line.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Redactor:
    """A callable `str -> str` that masks every given secret, in all forms in which it travels."""

    def __init__(self, *, urls: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """See `learn`."""
        self._forms: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        self.learn(urls=urls, secrets=secrets)

    def learn(self, *, urls: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """Mask these too; `urls` are masked part by part, `secrets` whole.

        None is ever forgotten: one that was replaced may still be valid, and be in an error.
        """
        found = {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS}
        for url in urls:
            found.update(url_secrets(url))
        forms = self._forms.union(*map(_forms, found))
        if forms == self._forms:
            return
        # Longest first, so that no secret is left with its tail showing.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        # In any case: a host comes back in lower case, `%2F` as `%2f`.
        known = "|".join(map(re.escape, ordered))
        self._forms, self._known = forms, re.compile(known, re.IGNORECASE)

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def line(self, text: str, limit_bytes: int = MAX_ERROR_BYTES) -> str:
        """The text masked, on one printable line, and cut to `limit_bytes` of UTF-8."""
        # Cut after masking: half a secret would not be recognised.
        flat = _UNPRINTABLE.sub(" ", masked(text, self, limit_bytes + 1)).strip()
        encoded = flat.encode("utf-8", "replace")
        if len(encoded) <= limit_bytes:
            return encoded.decode()
        return encoded[: limit_bytes - 3].decode("utf-8", "ignore") + "…"


def url_secrets(url: str) -> frozenset[str]:
    """Each part of an Apprise URL that may be a secret, as written and decoded.

    Userinfo, the host where it is a token, path segments, fragment, and query values, all of at
    least 6 characters. (Apprise puts tokens anywhere: Slack's first is the host, Discord's
    second is a path segment, json:// takes headers as query values.)
    """
    parts = (part.strip() for raw in _raw_parts(url) for part in (raw, unquote(raw)))
    words = (word for part in parts for word in (part, *re.split(r"[\s,;]+", part)))
    return frozenset(
        word for word in words if len(word) >= MIN_SECRET_CHARS and word not in PUBLIC_WORDS
    )


def _raw_parts(url: str) -> Iterator[str]:
    _, _, rest = url.partition("://")
    location, _, query = rest.partition("?")
    authority, *path = re.split(r"[/#]", location)
    userinfo, _, host = authority.rpartition("@")
    yield userinfo
    yield from userinfo.split(":")
    if userinfo:
        yield base64.b64encode(unquote(userinfo).encode("utf-8", "replace")).decode()
    if _is_token(host):
        yield host
    yield from path
    for pair in re.split("[&#]", query):
        value = pair.partition("=")[2]
        yield value
        yield unquote_plus(value)


def _is_token(host: str) -> bool:
    """A host without a dot that no network would name so: `T1JJ3T3L2`, `123456789012345678`."""
    name = host.partition(":")[0]
    has_token_letter = any(letter.isdigit() or letter.isupper() for letter in name)
    return "." not in name and not host.startswith("[") and has_token_letter


def _forms(secret: str) -> set[str]:
    """The secret as it looks in URLs, JSON, Python's repr and Basic authentication."""
    return {
        secret,
        quote(secret, errors="replace"),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }


def redacting_processor(
    redact: Callable[[str], str],
) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    """A structlog processor that masks every text in an event, nested ones too."""

    def process(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: _masked(value, redact) for key, value in event.items()}

    return process


def _masked(value: Any, redact: Callable[[str], str]) -> Any:
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode("utf-8", "replace"))
        case Mapping():
            return {key: _masked(item, redact) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(item, redact) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            # Anything else is printed by the renderer; only its text can be masked.
            text = str(value)
            clean = redact(text)
            return value if clean == text else clean
