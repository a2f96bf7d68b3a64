"""Options and secrets that can't be used are refused at the start, with the remedy."""

import hmac

import pytest
from signature_sources import BODY, NOW, TEXT_SECRETS, WHSEC, raw

from receiver.errors import ConfigError, SignatureError, UsageError
from receiver.signatures import PRESETS, SchemeSpec, build_scheme


def problems(secrets: list[str] | None = None, **options: object) -> tuple[str, ...]:
    """The faults of a source with these options, by default those of a usable `hmac`."""
    spec = SchemeSpec(**({"scheme": "hmac", "header": "X-Sig"} | options))
    with pytest.raises(ConfigError) as raised:
        build_scheme(spec, [TEXT_SECRETS[0]] if secrets is None else secrets)
    return raised.value.problems


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scheme": "hamc"}, 'scheme "hamc" is unknown; use one of standard, claribi, github'),
        ({"header": None}, "header is not set; name the header"),
        ({"header": "X Sig"}, '"X Sig" is no header name'),
        ({"header": "X-Sig\r\n"}, "is no header name"),
        ({"id_header": "x-sig"}, "must be different headers"),
        ({"digest": "md5"}, 'digest "md5" is unknown; use one of sha1, sha256, sha384, sha512'),
        ({"encoding": "base32"}, "use one of hex, base64, base64url"),
        ({"timestamp_format": "unix"}, "use one of seconds, milliseconds, iso"),
        ({"key_encoding": "utf-8"}, "use one of text, base64, hex"),
        ({"signed": "{timestamp}"}, "signed has no {body}"),
        ({"signed": "{body}{host}"}, "unknown placeholder {host}; use {body}, {timestamp}, {id}"),
        ({"signed": "{}{body}"}, "unknown placeholder {}"),
        ({"signed": "{body}.{body}"}, "signed has {body} more than once"),
        ({"signed": "{body}}"}, "signed has a brace without its partner"),
        ({"signed": "{timestamp}{body}", "timestamp_header": "X-T"}, "signed needs a separator"),
        ({"signed": "{id}0{body}", "id_header": "X-I"}, "signed needs a separator"),
        ({"signed": "{timestamp}.{body}"}, "no timestamp is sent; set timestamp_header"),
        ({"signed": "{id}.{body}"}, "no id is sent; set id_header"),
        ({"timestamp_header": "X-T"}, "a timestamp that is not signed proves nothing"),
        ({"scheme": "stripe", "signed": "{body}"}, "a timestamp that is not signed"),
        ({"scheme": "claribi", "timestamp_header": "X-T"}, "both have the timestamp; set one"),
        ({"prefix": "a=", "elements": "v={signature}"}, "prefix and elements exclude each other"),
        ({"prefix": "schlüssel="}, "prefix must be printable ASCII"),
        ({"prefix": "a\r\nb"}, "prefix must be printable ASCII"),
        ({"elements": "v1={sig}"}, 'elements can\'t be read at "v1={sig}"'),
        ({"elements": "t={timestamp}"}, "elements needs {signature} once"),
        ({"elements": "a={signature},b={signature}"}, "elements needs {signature} once"),
        ({"elements": "v={timestamp},v={signature}"}, "two elements the same name"),
        ({"elements": "t={timestamp}, v1={signature}"}, "elements needs one separator"),
        ({"scheme": "standard", "header": "X-Sig"}, 'header does not apply to scheme "standard"'),
        ({"scheme": "none", "header": None}, 'scheme "none" checks nothing; remove its secrets'),
        ({"tolerance_seconds": 0}, "tolerance must be a time longer than 0"),
        ({"tolerance_seconds": float("nan")}, "tolerance must be a time longer than 0"),
        ({"tolerance_seconds": float("inf")}, "tolerance must be a time longer than 0"),
    ],
)
def test_bad_option_is_refused_with_the_remedy(options: dict[str, object], text: str) -> None:
    assert any(text in problem for problem in problems(**options))


KEY = TEXT_SECRETS[0]
SHORT = "fifteen-bytes-!"


@pytest.mark.parametrize(
    ("scheme", "secret", "text"),
    [
        ("claribi", "", "secret 1 has 0 bytes; use at least 16, for example from python3"),
        ("github", SHORT, "secret 1 has 15 bytes"),
        ("slack", TEXT_SECRETS[0] + "\n", "has white space around it"),
        ("standard", "", "secret 1 has 0 bytes"),
        ("standard", "whsec_", "secret 1 has 0 bytes"),
        ("standard", "whsec_Zm91cnRlZW4tYnl0ZXM=", "secret 1 has 14 bytes"),
        ("standard", "whsec_not base64, at all", "is not base64"),
        ("standard", "whsec_é", "is not base64"),
        ("standard", "whpk_AAAA", "is a whpk_ of 3 bytes"),
        ("standard", "whsk_AAAA", "is a whsk_ of 3 bytes"),
        ("standard", "whsk_" + "A" * 84 + "AA==", "two halves are not a pair"),
    ],
)
def test_bad_secret_is_refused_and_not_shown(scheme: str, secret: str, text: str) -> None:
    found = problems([secret], scheme=scheme, header=None)
    assert len(found) == 1
    assert text in found[0]
    assert len(secret) < 8 or secret not in found[0]


@pytest.mark.parametrize(
    ("encoding", "secret"),
    [("base64", "not base64"), ("hex", "xyz"), ("base64", "é"), ("hex", "é")],
)
def test_key_that_is_not_in_its_encoding_is_refused(encoding: str, secret: str) -> None:
    assert problems([secret], key_encoding=encoding)[0].startswith(f"secret 1 is not {encoding}")


@pytest.mark.parametrize("scheme", [name for name in PRESETS if name != "none"])
def test_scheme_without_a_secret_does_not_start(scheme: str) -> None:
    assert any("needs secrets" in text for text in problems([], scheme=scheme, header=None))


def test_all_faults_are_told_at_once() -> None:
    found = problems([SHORT, TEXT_SECRETS[0], ""], digest="md5", signed="x", tolerance_seconds=-1)
    assert len(found) == 5


def test_every_part_of_claribi_can_be_overridden() -> None:
    spec = SchemeSpec(
        scheme="claribi",
        header="X-Other",
        prefix="hmac ",
        digest="sha512",
        encoding="base64",
        signed="{id}:{timestamp}:{body}",
        timestamp_header="X-Other-Time",
        timestamp_format="iso",
        id_header="X-Other-Id",
        key_encoding="hex",
        tolerance_seconds=1,
    )
    scheme = build_scheme(spec, [TEXT_SECRETS[0].encode().hex()])
    assert scheme.headers == {b"x-other", b"x-other-time", b"x-other-id"}
    headers = scheme.sign(BODY, message_id="msg_1", now=NOW)
    assert headers[0][1].startswith("hmac ")
    assert headers[1:] == [("X-Other-Time", "2023-11-14T22:13:20Z"), ("X-Other-Id", "msg_1")]
    proof = scheme.verify(raw(headers), BODY, NOW)
    assert (proof.message_id, proof.signed_at) == ("msg_1", NOW)
    with pytest.raises(SignatureError, match="too_old"):
        scheme.verify(raw(headers), BODY, NOW + 1.5)


@pytest.mark.parametrize("message_id", ["", "two words", "ein.punkt", "é", "\ud800", "x" * 257])
def test_id_that_a_scheme_can_not_carry_is_not_signed(message_id: str) -> None:
    dotted = SchemeSpec(scheme="hmac", header="X-S", signed="{id}.{body}", id_header="X-Id")
    for scheme in (
        build_scheme(SchemeSpec(scheme="standard"), [WHSEC[0]]),
        build_scheme(dotted, [TEXT_SECRETS[0]]),
    ):
        with pytest.raises(UsageError, match="can't be a message id"):
            scheme.sign(BODY, message_id=message_id, now=NOW)


def test_ids_may_have_a_hyphen_where_it_separates() -> None:
    """A UUID has hyphens; a body that begins with a timestamp is no JSON object anyway."""
    spec = SchemeSpec(scheme="hmac", header="X-S", signed="{id}-{body}", id_header="X-Id")
    scheme = build_scheme(spec, [TEXT_SECRETS[0]])
    headers = raw(scheme.sign(BODY, message_id="a-b", now=NOW))
    assert scheme.verify(headers, BODY, NOW).message_id == "a-b"


def test_presets_say_where_type_and_id_are() -> None:
    forms = ("header:", "json:/", "body")
    for name, preset in PRESETS.items():
        places = [preset.type_from, preset.dedupe, preset.id_from or "body"]
        assert all(place.startswith(forms) for place in places), name
    assert PRESETS["claribi"].type_from == "json:/event"
    assert PRESETS["github"].type_from == "header:X-GitHub-Event"


def test_unsigned_id_of_github_is_not_trusted() -> None:
    """Who captured one request could run it again under a new id, as often as they like."""
    scheme = build_scheme(SchemeSpec(scheme="github"), [TEXT_SECRETS[0]])
    headers = raw(scheme.sign(BODY, message_id="guid", now=NOW))
    assert (b"x-github-delivery", b"guid") in headers
    assert scheme.verify(headers, BODY, NOW).message_id is None
    assert PRESETS["github"].dedupe == "body"


def test_text_around_placeholders_is_signed_as_it_is() -> None:
    scheme = build_scheme(SchemeSpec(scheme="hmac", header="X-S", signed="100% %s {body}%"), [KEY])
    expected = hmac.new(KEY.encode(), b"100% %s " + BODY + b"%", "sha256").hexdigest()
    assert scheme.sign(BODY, message_id="unused", now=NOW) == [("X-S", expected)]


def test_elements_take_the_place_of_a_prefix() -> None:
    scheme = build_scheme(SchemeSpec(scheme="github", elements="sig={signature}"), [KEY])
    header, value = scheme.sign(BODY, message_id="msg_1", now=NOW)[0]
    assert value.startswith("sig=")
    assert scheme.verify(raw([(header, f"x=1,{value}")]), BODY, NOW).secret_index == 0
