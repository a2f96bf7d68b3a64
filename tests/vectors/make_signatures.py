"""Writes signatures.json: `python tests/vectors/make_signatures.py`; `--check` only compares.

Every verdict is stated here, by hand; the requests are signed without clarihook's help
(signature_senders.py). docs/signatures.md describes the file.
"""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from signature_cases import Case, beside, changed, common, timed
from signature_senders import (
    CLARIBI,
    ED25519,
    EVENT,
    GITHUB,
    HMAC_ID,
    HMAC_ISO,
    HMAC_LIST,
    NOW,
    SECONDS,
    SENDERS,
    SHOPIFY,
    STANDARD,
    SVIX,
    TEXT_SECRETS,
    WHPK,
    WHSEC,
    WHSK,
    Sender,
    digest,
)


def special() -> Iterator[Case]:
    """What only one scheme has."""
    yield from special_lists()
    yield from special_standard()
    yield from special_others()


def special_lists() -> Iterator[Case]:
    sign = CLARIBI.sign
    good, old = (sign(key, EVENT, SECONDS, b"") for key in (0, 1))
    stamp, header = b"t=" + SECONDS, "X-ClariBI-Signature"
    other_stamp = b"t=1700000001"

    def case(name: str, value: bytes, reason: str | None = None, **rest: Any) -> Case:
        return Case(name, CLARIBI, [(header, value)], reason=reason, **rest)

    yield case("signed with both secrets", b",".join((stamp, b"v1=" + old, b"v1=" + good)))
    yield case("signature first", b"v1=" + good + b"," + stamp)
    yield case("spaces after commas", stamp + b", v1=" + good)
    yield case("hex in upper case", stamp + b",v1=" + good.upper())
    yield case("name in upper case", stamp + b",V1=" + good, "unsupported")
    yield case("only v0", stamp + b",v0=" + good, "unsupported")
    yield case("no timestamp", b"v1=" + good, "missing")
    yield case("timestamp without =", b"t,v1=" + good, "missing")
    yield case("no signature", stamp, "malformed")
    yield case("timestamp twice", b",".join((stamp, other_stamp, b"v1=" + good)), "ambiguous")
    yield case("timestamp twice, the same", b",".join((stamp, stamp, b"v1=" + good)), "ambiguous")
    yield case(
        "two header values joined by a proxy", b",".join((stamp, b"v1=" + good) * 2), "ambiguous"
    )
    yield case("semicolons", stamp + b";v1=" + good, "malformed")
    yield case("bare hex", good, "malformed")
    yield case(
        "base64 for hex",
        stamp + b",v1=" + base64.b64encode(bytes.fromhex(good.decode())),
        "malformed",
    )
    yield case(
        "signed without its timestamp",
        stamp + b",v1=" + GITHUB.sign(0, EVENT, b"", b""),
        "mismatch",
    )
    custom = {"header": "X-Custom", "prefix": "sha256=", "signed": "{body}"}
    plain = [("X-Custom", b"sha256=" + GITHUB.sign(0, EVENT, b"", b""))]
    yield Case("overridden to a plain body signature", CLARIBI, plain, scheme=custom)
    yield Case(
        "overridden, sent the usual way",
        CLARIBI,
        CLARIBI.request(),
        reason="missing",
        scheme=custom,
    )


def special_standard() -> Iterator[Case]:
    good, svix, ed = STANDARD.request(), SVIX.request(), ED25519.request()
    later = SVIX.request(message_id=b"msg_test_2")
    yield Case("both families, the same", STANDARD, good + svix)
    yield Case("both families, two messages", STANDARD, good + later, reason="ambiguous")
    yield Case(
        "a foreign svix-id beside it", STANDARD, [*good, ("svix-id", b"x")], reason="ambiguous"
    )
    yield Case(
        "a foreign webhook-id beside it", SVIX, [*svix, ("webhook-id", b"x")], reason="ambiguous"
    )
    yield Case(
        "a foreign svix-signature beside it", STANDARD, [*good, later[2]], reason="ambiguous"
    )
    yield Case("half of each family", STANDARD, [good[0], *svix[1:]], reason="missing")
    yield Case(
        "id changed", STANDARD, [("webhook-id", b"msg_test_3"), *good[1:]], reason="mismatch"
    )
    for name, sent_id in (
        ("with a full stop", b"msg.1"), ("empty", b""), ("with a space", b"msg 1"),
        ("not ASCII", b"msg_\xe9"), ("of 257 bytes", b"m" * 257), ("with a NUL", b"m\x00"),
    ):  # fmt: skip
        request = STANDARD.request(message_id=sent_id)
        yield Case(f"id {name}, signed", STANDARD, request, reason="malformed")
    yield Case(
        "id of 256 bytes", STANDARD, STANDARD.request(message_id=b"m" * 256), message_id=b"m" * 256
    )
    mixed = (WHSEC[0], WHPK[0])
    both = changed(good, "Webhook-Signature", lambda v: ed[2][1] + b" " + v)
    yield Case("v1a beside v1, shared secret only", STANDARD, both, secrets=WHSEC[:1])
    yield Case("v1a beside v1, public key only", STANDARD, both, secrets=WHPK[:1])
    yield Case(
        "v1a by the second of two kinds of secret", STANDARD, ed, secrets=mixed, secret_index=1
    )
    yield Case("v1a with the private key as secret", ED25519, ed, secrets=WHSK)
    yield Case("v1a for a shared secret", STANDARD, ed, secrets=WHSEC, reason="unsupported")
    yield Case("v1 for a public key", STANDARD, good, secrets=WHPK, reason="unsupported")
    public = base64.b64decode(WHPK[0][5:])
    content = b".".join((STANDARD.message_id, SECONDS, EVENT))
    confused = b"v1," + base64.b64encode(digest(public, content))
    forged = changed(good, "Webhook-Signature", lambda _: confused)
    yield Case(
        "HMAC keyed with the public key", STANDARD, forged, secrets=WHPK[:1], reason="unsupported"
    )
    many = changed(ed, "Webhook-Signature", lambda v: b" ".join([v] * 9))
    yield Case("nine v1a signatures", ED25519, many, reason="malformed")
    eight = changed(ed, "Webhook-Signature", lambda v: b"v1a,AAAA " * 7 + v)
    yield Case("genuine after seven v1a that are none", ED25519, eight)
    v2 = changed(good, "Webhook-Signature", lambda v: v.replace(b"v1,", b"v2,"))
    yield Case("only v2", STANDARD, v2, reason="unsupported")
    for name, change in (
        ("without padding", lambda v: v.rstrip(b"=")),
        ("with more padding", lambda v: v + b"="),
        ("with bits after its end", lambda v: v[:-2] + _next_letter(v[-2:-1]) + b"="),
        ("in hex", lambda v: b"v1," + base64.b64decode(v[3:]).hex().encode()),
        ("separated by a comma", lambda v: v + b"," + v),
    ):
        request = changed(good, "Webhook-Signature", change)
        yield Case(f"base64 {name}", STANDARD, request, reason="malformed")
    bare = (WHSEC[0].removeprefix("whsec_"),)
    yield Case("secret without its prefix", STANDARD, good, secrets=bare)


def _next_letter(letter: bytes) -> bytes:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = alphabet.index(letter)
    return alphabet[at + 1 : at + 2]


def special_others() -> Iterator[Case]:
    github = GITHUB.request()
    sha1 = [
        (
            "X-Hub-Signature",
            b"sha1=" + digest(TEXT_SECRETS[0].encode(), EVENT, "sha1").hex().encode(),
        )
    ]
    yield Case("only the old SHA-1 header", GITHUB, sha1, reason="missing")
    yield Case("wrong SHA-1 header beside it", GITHUB, [*github, ("X-Hub-Signature", b"sha1=0")])
    bare = changed(github, "X-Hub-Signature-256", lambda v: v[7:])
    yield Case("without its prefix", GITHUB, bare, reason="malformed")
    other = changed(github, "X-Hub-Signature-256", lambda v: b"sha512=" + v[7:])
    yield Case("with another prefix", GITHUB, other, reason="malformed")
    yield Case("without X-GitHub-Delivery", GITHUB, [github[0], github[2]])
    telling = next(  # a body whose signature has letters in which the two alphabets differ
        body
        for body in (str(number).encode() for number in range(100))
        if {b"+", b"/"} <= {bytes([letter]) for letter in SHOPIFY.request(body)[1][1]}
    )
    base64url = changed(
        SHOPIFY.request(telling),
        "X-Shopify-Hmac-Sha256",
        lambda v: v.replace(b"/", b"_").replace(b"+", b"-"),
    )
    yield Case("base64url for base64", SHOPIFY, base64url, telling, reason="malformed")
    with_id = HMAC_ID.request()
    unpadded = changed(with_id, "X-Sig", lambda v: v.rstrip(b"="))
    yield Case("base64url without padding", HMAC_ID, unpadded)
    yield Case(
        "id with the separator", HMAC_ID, HMAC_ID.request(message_id=b"a.b"), reason="malformed"
    )
    offset = HMAC_ISO.request(timestamp=b"2023-11-15T00:13:20.250+02:00")
    yield Case("offset and fraction", HMAC_ISO, offset)
    key = TEXT_SECRETS[0].encode()
    for encoding, secret in (("hex", key.hex()), ("base64", base64.b64encode(key).decode())):
        yield Case(f"key in {encoding}", HMAC_LIST, HMAC_LIST.request(), secrets=(secret,),
                   scheme={"key_encoding": encoding})  # fmt: skip
    unsigned = Sender("none", {"scheme": "none"}, (), GITHUB.sign, GITHUB.place)
    yield Case("no headers", unsigned, [], secret_index=-1)
    yield Case("hostile headers", unsigned, [("X", b"\xff\x00")] * 2, b"\xff", secret_index=-1)


def published() -> Iterator[dict[str, Any]]:
    """The vendors' own examples, as printed in their documentation and tests.

    Stripe prints none with its secret: that one was made with stripe-python 16.1.0.
    """
    slack_body = (
        "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        "%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    standard = [["webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"], ["webhook-timestamp", "1614265330"]]
    v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    v1a = (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B"
        "dqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    slack = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    stripe = "1b03e698145932ab9c6a67b74122cb93d81a8044145b4fc480d67ea360f4caea"
    examples: tuple[tuple[str, str, str, list[list[str]], str, int], ...] = (
        ("github", "github", "It's a Secret to Everybody",
         [["X-Hub-Signature-256", github]], "Hello, World!", NOW),
        ("slack", "slack", "8f742231b10e8888abcd99yyyzzz85a5",
         [["X-Slack-Request-Timestamp", "1531420618"], ["X-Slack-Signature", slack]],
         slack_body, 1_531_420_618),
        ("stripe", "stripe", "whsec_test_secret_not_real",
         [["Stripe-Signature", f"t={NOW},v1={stripe},v0={stripe[::-1]}"]],
         '{"id":"evt_test_webhook","object":"event","type":"charge.succeeded"}', NOW),
        ("standard v1", "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
         [*standard, ["webhook-signature", v1]], '{"test": 2432232314}', 1_614_265_330),
        ("standard v1a", "standard", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
         [*standard, ["webhook-signature", f"{v1} {v1a}"]], '{"test": 2432232314}', 1_614_265_330),
    )  # fmt: skip
    for name, scheme, secret, headers, body, now in examples:
        yield {
            "name": f"{name}: the published example", "scheme": {"scheme": scheme},
            "secrets": [secret], "headers": headers, "body": body, "now": now,
            "verdict": "verified", "reason": None, "secret_index": 0,
            "message_id": headers[0][1] if scheme == "standard" else None,
        }  # fmt: skip


def cases() -> list[dict[str, Any]]:
    made: list[Case] = []
    for sender in SENDERS:
        made += common(sender)
        if sender.timestamp:
            made += timed(sender)
        if sender.separator:
            made += beside(sender)
    made += special()
    return [*published(), *(case.as_json() for case in made)]


def render() -> str:
    """The file's text: one case per line, so that a change shows as the case that it changes."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases())
    return f'{{"format": 1, "cases": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    file = Path(__file__).with_name("signatures.json")
    if "--check" in sys.argv[1:]:
        sys.exit(file.read_text(encoding="ascii") != render())
    file.write_text(render(), encoding="ascii")
