"""Masking: whatever a URL hides, in any of the forms in which it may come up."""

import base64
import json
import logging
import time
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receiver.notify.log_guard import RedactingFilter
from receiver.notify.redact import (
    MASK,
    MIN_SECRET_CHARS,
    PUBLIC_WORDS,
    Redactor,
    redacting_processor,
)

SECRETS = {
    "user": "plantedUser1",
    "password": "planted/Pass word&2",
    "path": "plantedPath3",
    "query": "planted Query+4",
    "header": "plantedHeader5",
    "fragment": "plantedChannel6",
}
URL = (
    f"json://{SECRETS['user']}:{quote(SECRETS['password'], safe='')}@hooks.example.com:8443"
    f"/in/{SECRETS['path']}/?-token={quote(SECRETS['query'], safe='')}"
    f"&+Authorization=Bearer%20{SECRETS['header']}&format=markdown#{SECRETS['fragment']}"
)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_every_part_of_a_url_is_masked_in_every_form(secret: str) -> None:
    redact = Redactor(urls=[URL])
    for form in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps({"a": secret}),
        repr({"a": secret}),
        f"https://x/{secret}?a={secret}",
    ):
        masked = redact(f"before {form} after")
        assert "planted" not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")


def test_whole_url_is_masked() -> None:
    assert "planted" not in Redactor(urls=[URL])(f"failed: {URL}")


def test_basic_authentication_is_masked() -> None:
    pair = f"{SECRETS['user']}:{SECRETS['password']}".encode()
    header = base64.b64encode(pair).decode()
    assert header not in Redactor(urls=[URL])(f"sent {header}")


def test_token_in_the_place_of_the_host_is_masked() -> None:
    redact = Redactor(urls=["slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"])
    assert redact("T1JJ3T3L2 A1BRTD4JD TIiajkdnlazkcOXrIdevi7FQ") == "*** *** ***"


def test_what_is_no_secret_stays_readable() -> None:
    redact = Redactor(urls=[URL, "json://localhost:8000/webhook/?format=markdown&method=POST"])
    line = "ops/1-json: hooks.example.com answered 401 at localhost:8000; webhook format markdown"
    assert redact(line) == line


@pytest.mark.parametrize(
    "text",
    [
        "claribi_sk_live_abcdefgh12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "key=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "the-token-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "a.b.eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "https://user:pass@example.com/",
        "Authorization: Bearer abc.def-ghi",
        "authorization: basic dXNlcjpwYXNz",
    ],
)
def test_secrets_are_known_by_their_form_too(text: str) -> None:
    masked = Redactor()(f"got {text} here")
    assert MASK in masked
    for part in ("abcdefgh", "eyJ", "MfKQ9", "pass", "abc.def", "dXNlc"):
        assert part not in masked


@pytest.mark.parametrize("piece", ["-eyJ", "eyJ.", "bearer ", "://a", "claribi_", "whsec_", "-a."])
def test_no_text_is_masked_slowly(piece: str) -> None:
    """An error's text may come from a sender: no pattern may take the square of its length."""
    redact = Redactor(urls=[URL])
    begun = time.thread_time()
    redact(piece * (200_000 // len(piece)))
    assert time.thread_time() - begun < 2, "some milliseconds; with a square, minutes"


@given(part=st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30))
def test_any_path_segment_is_masked(part: str) -> None:
    secret = part.strip()
    assume(len(secret) >= MIN_SECRET_CHARS and secret not in PUBLIC_WORDS)
    redact = Redactor(urls=[f"json://example.com/{quote(part, safe='')}/x"])
    assert secret not in redact(f"<{secret}>")


def test_line_is_one_printable_line_of_limited_length() -> None:
    line = Redactor(secrets=["planted-secret"]).line
    assert line("a\r\nb\x1b[2Jc\u2028d\u202ee\0") == "a b [2Jc d e"
    assert len(line("é" * 5000).encode()) <= 2048
    # Masked first, cut then: no half of a secret is left at the edge.
    assert "planted" not in line("x" * 2040 + "planted-secret")


def test_structlog_events_are_masked_at_any_depth() -> None:
    process = redacting_processor(Redactor(secrets=["planted-secret"]))
    event = {
        "event": "sent planted-secret",
        "nested": {"list": ["planted-secret", 1, None, b"planted-secret"]},
        "error": ValueError("planted-secret"),
        "count": 3,
        "object": 2 + 3j,
    }
    masked = process(None, "info", event)
    assert "planted" not in repr(masked)
    assert (masked["count"], masked["object"]) == (3, 2 + 3j)


def test_filter_masks_arguments_and_tracebacks() -> None:
    log_filter = RedactingFilter()
    redact = Redactor(secrets=["planted-secret"])
    log_filter.add(redact)
    try:
        raise ValueError("planted-secret")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", 10, "f", 1, "got %s %d", ("planted-secret", 5), info)
    assert log_filter.filter(record)
    text = logging.Formatter().format(record)
    assert text.startswith("got *** 5")
    assert "ValueError: ***" in text
    assert "planted" not in text
    log_filter.remove(redact)


def test_url_of_undecodable_bytes_is_masked_too() -> None:
    """An environment variable that is no UTF-8 comes with lone surrogates."""
    assert Redactor(urls=["json://us\udcffer:passw\udcffd@h/"])("passw\udcffd") == MASK
