"""Reading bodies: total, strict, and otherwise the same as the standard library's parser."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from receiver.errors import PayloadError
from receiver.payload import MAX_DEPTH, check_type, parse_object, pointer_reader

law = settings(max_examples=300, deadline=None, derandomize=True, database=None)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)  # fmt: skip
objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), values, max_size=6
)
almost_json = st.text(st.sampled_from('{}[]":,\\u0e1 \n\tatrueflsn-.\'"x\ud800'), max_size=40).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@law
@given(st.binary(max_size=200) | almost_json)
@example(b"")
@example(b"{" * 100_000)
@example(b'{"a":' * 300 + b"1" + b"}" * 300)
@example(b'{"a":"\\')
@example(b'"' + b"\\" * 10_000)
def test_any_bytes_are_an_object_or_a_payload_error(body: bytes) -> None:
    with contextlib.suppress(PayloadError):
        assert isinstance(parse_object(body), dict)


@law
@given(objects, st.sampled_from([None, 2]), st.booleans())
def test_valid_objects_read_as_the_standard_library_reads_them(
    value: dict[str, Any], indent: int | None, escaped: bool
) -> None:
    try:
        body = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        assume(False)  # a lone surrogate in an inner name: no UTF-8
    if "\\ud" in body.decode():  # lone surrogates are the one thing that only we refuse
        with contextlib.suppress(PayloadError):
            assert parse_object(body) == json.loads(body)
        return
    assert parse_object(body) == json.loads(body)


@law
@given(almost_json)
def test_what_is_accepted_is_json_for_the_standard_library_too(body: bytes) -> None:
    try:
        value = parse_object(body)
    except PayloadError:
        return
    assert value == json.loads(body.decode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "EOF"),
        (b"null", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"event=x", "not valid JSON"),
        (b'{"event":"x"} x', "trailing characters"),
        (b'{"event":"x"}\0', "trailing characters"),
        (b'{"event":"x",}', "trailing comma"),
        (b'/* no */{"event":"x"}', "not valid JSON"),
        (b"{'event':'x'}", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":"\x01"}', "control character"),
        (b'{"a":"\xff"}', "unicode"),
        (b'{"a":"\xed\xa0\x80"}', "unicode"),
        (b'{"a":"\\ud800"}', "hex escape"),
        (b'{"a":"\\udc00"}', "hex escape"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        ('{"event":"x"}'.encode("utf-16"), "not valid JSON"),
        ('{"event":"x"}'.encode("utf-16-le"), "not valid JSON"),
        (b'{"a":' + b"1" * 5000 + b"}", "out of range"),
        (nested(MAX_DEPTH + 1), "deeper than 64"),
        (nested(200), "deeper than 64"),
        (nested(100_000), "recursion limit"),
        (b'{"event":"x","event":"y"}', "same name twice"),
        (b'{"event":"x","event"  \n:"x"}', "same name twice"),
        (b'{"event":"x","\\u0065vent":"y"}', "same name twice"),
        (b'{"a":{"id":1,"id":1}}', "same name twice"),
        (b'{"a":[{"id":1,"x":":","id":1}]}', "same name twice"),
        (b'{"":1,"":2}', "same name twice"),
    ],
)
def test_refused_with_a_reason(body: bytes, said: str) -> None:
    with pytest.raises(PayloadError, match=said):
        parse_object(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' \t\r\n{"a" : 1}\n', {"a": 1}),
        (b'{"event":"a","data":{"event":"b"}}', {"event": "a", "data": {"event": "b"}}),
        (b'{"a":"\\"b\\":1"}', {"a": '"b":1'}),
        (b'{"a":":",":":"\\":"}', {"a": ":", ":": '":'}),
        (b'{"a":9223372036854775808}', {"a": 2**63}),
        (b'{"a":-0}', {"a": 0}),
        (b'{"a":1e400}', {"a": float("inf")}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
        (b'{"\\ud83d\\ude00":"\xf0\x9f\x98\x80"}', {"\U0001f600": "\U0001f600"}),
        (b'{"' + b"[" * 100 + b'":1}', {"[" * 100: 1}),
    ],
)
def test_accepted(body: bytes, value: object) -> None:
    assert parse_object(body) == value


def test_the_deepest_body_that_is_accepted_has_64_levels() -> None:
    assert parse_object(nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/event", "x"),
        ("/data/id", 7),
        ("/data/list/1", "b"),
        ("/data/list/2", None),
        ("/data/list/-1", None),
        ("/data/list/x", None),
        ("/data/a~1b", 1),
        ("/data/m~0n", 2),
        ("/data/0", 3),
        ("/0", None),
        ("/event/deeper", None),
        ("/none/at/all", None),
        ("/", None),
    ],
)
def test_pointer_reads_a_value_or_nothing(pointer: str, found: object) -> None:
    value = {
        "event": "x",
        "data": {"id": 7, "list": ["a", "b"], "a/b": 1, "m~n": 2, "0": 3},
    }
    assert pointer_reader(pointer)(value) == found


@law
@given(values, st.text(st.sampled_from("/~01ab"), max_size=8))
def test_reading_a_pointer_is_total(value: Any, pointer: str) -> None:
    pointer_reader("/data/" + pointer)({"data": value})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "has to be a string"),
        ("", "has to be a string"),
        (7, "has to be a string"),
        (["x"], "has to be a string"),
        ("x" * 256, "longer than 255"),
        ("a\nb", "can't be printed"),
        ("a\x1b[31m", "can't be printed"),
        ("a\u202eb", "can't be printed"),
        ("a\u2028b", "can't be printed"),
        ("a\0", "can't be printed"),
        ("clarihook.delivery.dead", "are clarihook's own"),
        ("clarihook.", "are clarihook's own"),
    ],
)
def test_what_can_be_no_event_type(value: object, said: str) -> None:
    with pytest.raises(PayloadError, match=said):
        check_type(value, "`event` in the body")


@pytest.mark.parametrize(
    "text", ["x", "x" * 255, "__proto__", "../../x", "; rm -rf /", "{{7*7}}", "*", "A.B", "é"]
)
def test_odd_event_types_are_just_text(text: str) -> None:
    assert check_type(text, "here") == text
