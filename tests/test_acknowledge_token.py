"""The token of an acknowledging link: only what was made with the key is read, and in its time."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.acknowledge_token import (
    KEY_BYTES,
    ExpiredToken,
    ForgedToken,
    make_token,
    read_token,
)
from receiver.model import EventId

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
EVENTS = st.binary(min_size=16, max_size=16).map(lambda raw: EventId(f"evt_{raw.hex()}"))
ENDS = st.integers(min_value=1, max_value=2**48 - 1)
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(KEYS, EVENTS, ENDS)
def test_a_token_is_read_until_its_end_and_not_after(key: bytes, event: EventId, end: int) -> None:
    token = make_token(key, event, end_seconds=end)
    assert set(token) <= set(ALPHABET), "it stands in a path as it is"
    assert read_token(key, token, now_seconds=end - 1) == event
    with pytest.raises(ExpiredToken):
        read_token(key, token, now_seconds=end)


@given(KEYS, EVENTS, ENDS, st.integers(0, 71), st.sampled_from(ALPHABET))
def test_any_changed_character_is_a_forgery(
    key: bytes, event: EventId, end: int, place: int, other: str
) -> None:
    token = make_token(key, event, end_seconds=end)
    changed = token[:place] + other + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(ForgedToken):
        read_token(key, changed, now_seconds=0)


@given(KEYS, KEYS, EVENTS, ENDS)
def test_another_key_reads_nothing(key: bytes, other: bytes, event: EventId, end: int) -> None:
    if key == other:
        return
    with pytest.raises(ForgedToken):
        read_token(other, make_token(key, event, end_seconds=end), now_seconds=0)


@given(KEYS, st.one_of(st.text(), st.text(ALPHABET, min_size=70, max_size=74)))
def test_whatever_comes_is_refused_and_nothing_else_is_raised(key: bytes, text: str) -> None:
    with pytest.raises(ForgedToken):
        read_token(key, text, now_seconds=0)


@pytest.mark.parametrize("added", ["\n", "=", " ", "\x00", "A", "\u0661"])
def test_a_token_has_one_spelling(added: str) -> None:
    key = b"k" * KEY_BYTES
    token = make_token(key, EventId("evt_" + "0f" * 16), end_seconds=100)
    for spelled in (token + added, added + token):
        with pytest.raises(ForgedToken):
            read_token(key, spelled, now_seconds=0)
