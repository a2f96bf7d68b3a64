"""Laws that hold for any request: verification is total, and only what was signed passes.

The generated requests run through every scheme; with the bit flips they are over 50,000.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signature_sources import BODY, NOW, SOURCES, Pairs, Source, signed

from receiver.errors import SignatureError
from receiver.signatures import REASONS, Scheme, Verified

SCHEMES = {source.name: source.build() for source in SOURCES}
GENUINE = {name: signed(scheme) for name, scheme in SCHEMES.items()}
HEX = {"claribi", "github", "stripe", "slack", "hmac-sha1-iso"}
each_source = pytest.mark.parametrize("source", SOURCES, ids=str)


def laws(examples: int) -> settings:
    """The same examples in every run, none kept."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def judge(scheme: Scheme, headers: Pairs, body: bytes, now: float = NOW) -> Verified | None:
    """The proof, or None if refused; anything else that verification does fails the test."""
    try:
        proof = scheme.verify(headers, body, now)
    except SignatureError as error:
        if error.reason in REASONS:
            return None
        raise
    assert isinstance(proof, Verified)
    return proof


names = st.sampled_from(sorted(frozenset().union(*(s.headers for s in SCHEMES.values()))))
fragments = st.one_of(
    st.sampled_from(
        [b"t=", b"ts=", b"v1=", b"v1,", b"v1a,", b"h1=", b"v0=", b"sha1=", b"sha256=", b",", b";"]
        + [b" ", b"=", b".", b"", b"\x00", b"\r\n", b"1700000000", b"1700000000000"]
        + [b"2023-11-14T22:13:20Z", b"msg_1", b"0" * 64, b"A" * 44, b"A" * 86 + b"=="]
        + [value for pairs in GENUINE.values() for _, value in pairs]
    ),
    st.binary(max_size=12),
)
values = st.lists(fragments, max_size=6).map(b"".join)
bodies = st.one_of(st.just(BODY), st.binary(max_size=64))
message_ids = st.text("abcXYZ019_-", min_size=1, max_size=40)


@laws(2000)
@given(
    st.lists(st.tuples(names | st.binary(max_size=6), values), max_size=7),
    bodies,
    st.sampled_from([0.0, NOW, NOW + 0.5, 1e18, -1e18]),
)
def test_any_request_is_verified_or_refused(headers: Pairs, body: bytes, now: float) -> None:
    for scheme in SCHEMES.values():
        judge(scheme, headers, body, now)


@laws(1500)
@given(values, st.integers(0, 2), bodies)
def test_any_value_in_a_header_of_the_scheme_is_verified_or_refused(
    value: bytes, which: int, body: bytes
) -> None:
    for name, scheme in SCHEMES.items():
        headers = list(GENUINE[name])
        at = which % len(headers)
        headers[at] = (headers[at][0], value)
        judge(scheme, headers, body)


@laws(500)
@given(st.binary(max_size=300), message_ids, st.integers(0, 1), st.floats(1, 4_000_000_000))
def test_what_is_signed_verifies(body: bytes, message_id: str, key: int, now: float) -> None:
    for scheme in SCHEMES.values():
        proof = judge(
            scheme, signed(scheme, body, message_id=message_id, key=key, now=now), body, now
        )
        assert proof is not None
        assert proof.secret_index == key
        assert proof.message_id in (None, message_id)
        assert proof.signed_at in (None, int(now))


@laws(300)
@given(st.binary(max_size=100), st.binary(max_size=100), st.integers(0, 1))
def test_another_body_is_refused(body: bytes, other: bytes, key: int) -> None:
    for scheme in SCHEMES.values():
        proof = judge(scheme, signed(scheme, body, key=key), other)
        assert (proof is not None) == (body == other)


@laws(300)
@given(message_ids, message_ids)
def test_a_trusted_message_id_can_not_be_changed(sent: str, other: str) -> None:
    """An id that is handed out as proof is one that a forger can't choose."""
    for scheme in SCHEMES.values():
        genuine = signed(scheme, message_id=sent)
        proof = judge(scheme, genuine, BODY)
        assert proof is not None
        forged = [(n, other.encode() if v == sent.encode() else v) for n, v in genuine]
        changed = judge(scheme, forged, BODY)
        if proof.message_id is not None and other != sent:
            assert changed is None


@each_source
def test_any_single_bit_flip_is_refused(source: Source) -> None:
    """In the body and in every header that the scheme reads, its unsigned id apart.

    Hex is read in both cases: there the flip of a letter's case gives the same signature.
    """
    scheme = SCHEMES[source.name]
    genuine = GENUINE[source.name]
    for at, bit in ((at, 1 << bit) for at in range(len(BODY)) for bit in range(8)):
        assert judge(scheme, genuine, flipped(BODY, at, bit)) is None
    for number, (name, value) in enumerate(genuine):
        if name in (b"x-github-delivery", b"x-shopify-webhook-id"):
            continue
        for at, bit in ((at, 1 << bit) for at in range(len(value)) for bit in range(8)):
            changed = flipped(value, at, bit)
            headers = [*genuine[:number], (name, changed), *genuine[number + 1 :]]
            is_hex_letter = 0 < value.rfind(b"=") < at and value[at : at + 1].isalpha()
            is_same_hex = source.name in HEX and is_hex_letter and bit == ord("a") - ord("A")
            assert (judge(scheme, headers, BODY) is not None) == is_same_hex, changed


def flipped(value: bytes, at: int, bit: int) -> bytes:
    return value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :]


@each_source
def test_any_cut_is_refused(source: Source) -> None:
    scheme, genuine = SCHEMES[source.name], GENUINE[source.name]
    for size in range(len(BODY)):
        assert judge(scheme, genuine, BODY[:size]) is None
    number = next(i for i, (_, value) in enumerate(genuine) if len(value) >= 40)
    name, value = genuine[number]
    whole_without_padding = len(value.rstrip(b"=")) if "base64url" in source.name else len(value)
    for size in range(whole_without_padding):
        headers = [*genuine[:number], (name, value[:size]), *genuine[number + 1 :]]
        assert judge(scheme, headers, BODY) is None


@each_source
def test_a_header_of_the_scheme_twice_is_ambiguous(source: Source) -> None:
    scheme = SCHEMES[source.name]
    for pair in GENUINE[source.name]:
        assert pair[0] in scheme.headers
        with pytest.raises(SignatureError, match="ambiguous"):
            scheme.verify([*GENUINE[source.name], pair], BODY, NOW)


@each_source
def test_the_matching_secret_is_told_by_its_index(source: Source) -> None:
    """Rotation: both secrets are live, then the older one is taken away."""
    both, older_gone = source.build(), source.build(keep=1)
    assert both.verify(signed(both, key=0), BODY, NOW).secret_index == 0
    assert both.verify(signed(both, key=1), BODY, NOW).secret_index == 1
    with pytest.raises(SignatureError, match="mismatch"):
        older_gone.verify(signed(both, key=1), BODY, NOW)
