"""`signature check` names the true cause: every row is a request that something has broken."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.diagnose import examine
from receiver.signatures import SchemeSpec, build_scheme

NOW = 1_795_000_000.0
SECRET = "a made-up secret for tests"
WHSEC = "whsec_" + base64.b64encode(b"a made-up secret for tests").decode()
BODY = json.dumps({"event": "a.b", "data": {"name": "Müller", "n": 1.5}}).encode()


@dataclass
class Capture:
    """A request as it was caught, and the secret that it is checked with."""

    scheme: str
    secret: str
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=dict)
    now: float = NOW


def signed(scheme: str, secret: str, body: bytes = BODY, now: float = NOW) -> Capture:
    """A valid one."""
    built = build_scheme(SchemeSpec(scheme=scheme), [secret])
    pairs = built.sign(body, message_id="msg_1", now=now)
    return Capture(scheme, secret, body, {name.lower(): value for name, value in pairs})


def by_hand(header: str, value: str, **more: Any) -> Capture:
    return Capture("claribi", SECRET, headers={header: value}, **more)


def mac(content: bytes, key: str | bytes = SECRET, digest: str = "sha256") -> bytes:
    return hmac.digest(key.encode() if isinstance(key, str) else key, content, digest)


STAMPED = f"{NOW:.0f}.".encode() + BODY
VALUE = json.loads(BODY)

ROWS: dict[str, tuple[Callable[[], Capture], str]] = {}


def row(cause: str) -> Callable[[Callable[[], Capture]], Callable[[], Capture]]:
    """Add a broken capture whose first cause contains this text."""

    def add(make: Callable[[], Capture]) -> Callable[[], Capture]:
        ROWS[make.__name__] = (make, cause)
        return make

    return add


def changed(scheme: str, secret: str, body: bytes, sent: bytes = BODY) -> Capture:
    """`sent` was signed, `body` arrived."""
    capture = signed(scheme, secret, sent)
    capture.body = body
    return capture


@row("the body was parsed and written again: signed with spaces after , and :")
def body_made_compact() -> Capture:
    return changed("claribi", SECRET, json.dumps(VALUE, separators=(",", ":")).encode())


@row("signed without spaces")
def body_given_spaces() -> Capture:
    sent = json.dumps(VALUE, separators=(",", ":"), ensure_ascii=False).encode()
    return changed("github", SECRET, json.dumps(VALUE).encode(), sent)


@row("signed indented by 2")
def body_no_longer_indented() -> Capture:
    return changed("standard", WHSEC, BODY, json.dumps(VALUE, indent=2).encode())


@row("keys sorted")
def body_keys_no_longer_sorted() -> Capture:
    return changed("stripe", SECRET, BODY, json.dumps(VALUE, sort_keys=True).encode())


@row("the body has a line break at its end that was not signed")
def body_saved_with_an_editor() -> Capture:
    return changed("claribi", SECRET, BODY + b"\n")


@row("the line break at the end of the body was lost")
def body_stripped() -> Capture:
    return changed("slack", SECRET, BODY, BODY + b"\n")


@row("line breaks were changed from LF to CRLF")
def body_from_windows() -> Capture:
    return changed("claribi", SECRET, b'{\r\n"event": "x"\r\n}', b'{\n"event": "x"\n}')


@row("a byte order mark was put before the body, or taken away")
def body_with_a_mark() -> Capture:
    return changed("shopify", SECRET, b"\xef\xbb\xbf" + BODY)


@row("the body was signed in another encoding")
def body_in_latin_1() -> Capture:
    text = '{"event": "x", "name": "Müller"}'
    return changed("claribi", SECRET, text.encode(), text.encode("latin-1"))


@row("an empty body was signed")
def body_lost_before_signing() -> Capture:
    return changed("claribi", SECRET, BODY, b"")


@row("the body was signed as a form")
def body_as_a_form() -> Capture:
    return changed("github", SECRET, BODY, b"payload=" + quote_plus(BODY).encode())


@row("the secret has white space around it")
def secret_with_a_space() -> Capture:
    capture = signed("claribi", SECRET)
    capture.secret = f" {SECRET}"
    return capture


@row("the secret has quotes around it")
def secret_in_quotes() -> Capture:
    capture = signed("claribi", SECRET)
    capture.secret = f'"{SECRET}"'
    return capture


@row("the sender's secret has a line break at its end")
def secret_from_a_file() -> Capture:
    return by_hand("x-claribi-signature", f"t={NOW:.0f},v1={mac(STAMPED, SECRET + chr(10)).hex()}")


@row("the sender uses the secret as text, not decoded")
def secret_not_decoded() -> Capture:
    signature = base64.b64encode(mac(b"msg_1." + STAMPED, WHSEC)).decode()
    capture = signed("standard", WHSEC)
    capture.headers["webhook-signature"] = f"v1,{signature}"
    return capture


@row('the secret is hex: key_encoding = "hex"')
def secret_in_hex() -> Capture:
    capture = signed("github", SECRET)
    capture.secret = SECRET.encode().hex()
    return capture


@row('the secret is base64: key_encoding = "base64"')
def secret_in_base64() -> Capture:
    capture = signed("claribi", SECRET)
    capture.secret = WHSEC
    return capture


@row('the signature is written in hex: encoding = "hex"')
def hex_for_base64() -> Capture:
    capture = signed("shopify", SECRET)
    capture.headers["x-shopify-hmac-sha256"] = mac(BODY).hex()
    return capture


@row('the signature is written in base64: encoding = "base64"')
def base64_for_hex() -> Capture:
    text = base64.b64encode(mac(STAMPED)).decode()
    return by_hand("x-claribi-signature", f"t={NOW:.0f},v1={text}")


@row("the signature is written in base64 of hex")
def base64_of_hex() -> Capture:
    text = base64.b64encode(mac(BODY).hex().encode()).decode()
    return Capture("shopify", SECRET, headers={"x-shopify-hmac-sha256": text})


@row("before the signature stands nothing, not sha256=")
def prefix_missing() -> Capture:
    capture = signed("github", SECRET)
    capture.headers = {"x-hub-signature-256": mac(BODY).hex()}
    return capture


@row("the timestamp is in milliseconds")
def timestamp_in_milliseconds() -> Capture:
    content = f"{NOW:.0f}000.".encode() + BODY
    return by_hand("x-claribi-signature", f"t={NOW:.0f}000,v1={mac(content).hex()}")


@row('the digest is sha1: digest = "sha1"')
def another_digest() -> Capture:
    capture = signed("github", SECRET)
    capture.headers = {"x-hub-signature-256": f"sha256={mac(BODY, digest='sha1').hex()}"}
    return capture


@row("what is signed is {body}")
def timestamp_not_signed() -> Capture:
    return by_hand("x-claribi-signature", f"t={NOW:.0f},v1={mac(BODY).hex()}")


@row("it is in the header x-signature")
def another_header() -> Capture:
    return by_hand("x-signature", f"t={NOW:.0f},v1={mac(STAMPED).hex()}")


@row("the signature fits, but its time does not (too_old: signed 3600 s ago)")
def an_old_request() -> Capture:
    capture = signed("claribi", SECRET)
    capture.now = NOW + 3600
    return capture


@row("the signature fits, but its time does not (too_new: signed 900 s ahead)")
def a_clock_that_is_late() -> Capture:
    capture = signed("standard", WHSEC)
    capture.now = NOW - 900
    return capture


@row("another secret")
def another_secret() -> Capture:
    capture = signed("claribi", "quite another secret")
    capture.secret = SECRET
    return capture


@row("there is no header X-Hub-Signature-256: not sent, or a proxy took it away")
def no_signature() -> Capture:
    return Capture("github", SECRET, headers={"x-github-event": "push"})


def run(capture: Capture) -> Any:
    return examine(
        SchemeSpec(scheme=capture.scheme), [capture.secret],
        list(capture.headers.items()), capture.body, capture.now,
    )  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_true_cause_comes_first(name: str) -> None:
    make, cause = ROWS[name]
    found = run(make())
    assert found.verified is None
    assert found.refusal
    assert cause in found.causes[0]
    if not name.startswith(("another_secret", "no_signature")):
        assert found.is_explained
        assert len(found.causes) == 1, found.causes


@pytest.mark.parametrize("scheme", ["claribi", "github", "stripe", "slack", "shopify", "standard"])
def test_a_valid_request_has_no_cause(scheme: str) -> None:
    found = run(signed(scheme, WHSEC if scheme == "standard" else SECRET))
    assert found.verified is not None
    assert (found.refusal, found.causes, found.is_explained) == (None, (), True)


def test_two_causes_are_both_found() -> None:
    text = base64.b64encode(mac(STAMPED)).decode()
    capture = by_hand("x-claribi-signature", f"t={NOW:.0f},v1={text}", body=BODY + b"\n")
    assert len(run(capture).causes) == 2


def test_the_secret_is_in_no_answer() -> None:
    for make, _ in ROWS.values():
        capture = make()
        assert capture.secret.strip() not in repr(run(capture))


@given(
    st.sampled_from(["claribi", "github", "stripe", "slack", "shopify", "standard"]),
    st.lists(st.tuples(st.text(), st.text()), max_size=3),
    st.binary(max_size=40),
)
@settings(max_examples=50, deadline=None)
def test_anything_can_be_examined(scheme: str, headers: list[tuple[str, str]], body: bytes) -> None:
    secret = WHSEC if scheme == "standard" else hashlib.sha256(b"made up").hexdigest()
    found = examine(SchemeSpec(scheme=scheme), [secret], headers, body, NOW)
    assert found.verified is None
    assert found.causes
