"""What a handler's parameters may be, and what the first one receives."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from receiver.errors import HandlerLoadError
from receiver.events import SyncFailed
from receiver.model import Event
from receiver.registry import Handler, SchemaError

LoadOne = Callable[[str], Handler]
MakeEvent = Callable[[bytes], Event]
FAILED = b'{"event": "data_source.sync_failed", "data": {"data_source_id": 7}}'


def test_an_event_model_is_made_from_the_body(load_one: LoadOne, make_event: MakeEvent) -> None:
    handler = load_one("""
        from __future__ import annotations
        from receiver import Context, on
        from receiver.events import SyncFailed

        @on("data_source.sync_failed")
        async def alert(event: SyncFailed, ctx: Context) -> None: ...
        """)
    event = handler.parse(make_event(FAILED))
    assert isinstance(event, SyncFailed)
    assert event.data.data_source_id == 7
    assert event.timestamp == datetime(2025, 7, 15, 8, 0, 1, tzinfo=UTC)
    assert (handler.is_async, handler.wants_context) == (True, True)


@pytest.mark.parametrize("annotation", ["", ": dict", ": dict[str, Any]", ": Any"])
def test_without_a_model_the_body_comes_as_a_dict(
    load_one: LoadOne, make_event: MakeEvent, annotation: str
) -> None:
    handler = load_one(f"""
        from typing import Any
        from receiver import on

        @on("*")
        def take(event{annotation}): ...
        """)
    event = make_event(FAILED)
    assert handler.parse(event) == event.json
    assert handler.parse(event) is not event.json
    assert (handler.is_async, handler.wants_context) == (False, False)


def test_an_event_is_handed_over_as_stored(load_one: LoadOne, make_event: MakeEvent) -> None:
    handler = load_one("""
        from receiver import Event, on

        @on("*")
        def take(event: Event, ctx): ...
        """)
    event = make_event(b"not JSON")
    assert handler.parse(event) is event
    assert handler.wants_context


@pytest.mark.parametrize(
    "definition",
    [
        "class Push(BaseModel):\n    ref: str\n    size: int",
        "@dataclass\nclass Push:\n    ref: str\n    size: int",
        "class Push(TypedDict):\n    ref: str\n    size: int",
    ],
)
def test_any_model_is_validated_against_the_whole_body(
    load_one: LoadOne, make_event: MakeEvent, definition: str
) -> None:
    handler = load_one(f"""
from __future__ import annotations
from dataclasses import dataclass
from typing_extensions import TypedDict
from pydantic import BaseModel
from receiver import on

{definition}

@on("push")
def take(event: Push): ...
""")
    push = handler.parse(make_event(b'{"ref": "main", "size": 3}'))
    assert (push["ref"] if isinstance(push, dict) else push.ref) == "main"
    with pytest.raises(SchemaError, match=r"does not fit Push: size: .*valid integer"):
        handler.parse(make_event(b'{"ref": "main", "size": "big"}'))


def test_a_choice_of_models_is_decided_by_the_event(
    load_one: LoadOne, make_event: MakeEvent
) -> None:
    handler = load_one("""
        from receiver import on
        from receiver.events import SyncCompleted, SyncFailed

        @on("data_source.*")
        def take(event: SyncFailed | SyncCompleted): ...
        """)
    assert isinstance(handler.parse(make_event(FAILED)), SyncFailed)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null", b"{", b'{"event": 1}'])
def test_a_body_that_does_not_fit_is_a_schema_error_and_nothing_else(
    load_one: LoadOne, make_event: MakeEvent, body: bytes
) -> None:
    handler = load_one("""
        from receiver import on
        from receiver.events import SyncFailed

        @on("*")
        def take(event: SyncFailed): ...
        """)
    with pytest.raises(SchemaError) as caught:
        handler.parse(make_event(body))
    assert caught.value.reason == "schema"
    assert str(caught.value).startswith("the payload does not fit SyncFailed: ")


def test_a_schema_error_is_short_and_tells_no_values(
    load_one: LoadOne, make_event: MakeEvent
) -> None:
    handler = load_one("""
        from pydantic import BaseModel
        from receiver import on

        class Wide(BaseModel):
            numbers: list[int]

        @on("*")
        def take(event: Wide): ...
        """)
    body = b'{"numbers": [' + b", ".join([b'"secret"'] * 500) + b"]}"
    with pytest.raises(SchemaError, match="and 495 more") as caught:
        handler.parse(make_event(body))
    assert len(caught.value.problems) == 500
    assert len(str(caught.value)) < 1000
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "definition", "text"),
    [
        ("", "def f(): ...", "takes the event and, if it likes, a Context"),
        ("", "def f(event, ctx, more): ...", "takes the event and"),
        ("", "def f(event, *, ctx): ...", "takes the event and"),
        ("", "def f(event, number: int): ...", "`number` means nothing here"),
        ("", "def f(event: int): ...", "`event: int` means nothing here"),
        ("", "def f(event: list[int]): ...", "`event: list[int]` means nothing here"),
        ("", "def f(ctx: Context): ...", "`ctx: Context` means nothing here"),
        ("", "def f(event: 'SyncFailt'): ...", "name 'SyncFailt' is not defined"),
        ("class Odd: ...", "def f(event: Odd): ...", "can't be made into Odd"),
        ("", "async def f(event):\n    yield 1", "a handler can't `yield`"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused_with_file_and_line(
    load_one: LoadOne, head: str, definition: str, text: str
) -> None:
    source = f"from receiver import Context, on\n{head}\n\n@on('a')\n{definition}\n"
    with pytest.raises(HandlerLoadError) as caught:
        load_one(source)
    assert text in str(caught.value)
    assert "sample.py:4: f: " in str(caught.value)


def test_parameters_with_defaults_are_left_alone(load_one: LoadOne) -> None:
    handler = load_one("""
        from receiver import on

        @on("*")
        def take(event, ctx, *rest, limit: int = 3, **options): ...
        """)
    assert handler.wants_context


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"data": {"data_source_id": 7}}, "7"),
        ({"data": {"data_source_id": "7"}}, "7"),
        ({"data": {"data_source_id": "ü"}}, "ü"),
        ({"data": {"data_source_id": "a\nb"}}, hashlib.sha256(b"a\nb").hexdigest()),
        ({"data": {"data_source_id": "x" * 201}}, hashlib.sha256(b"x" * 201).hexdigest()),
        ({"data": {"data_source_id": True}}, "true"),
        ({"data": {"data_source_id": None}}, None),
        ({"data": {"data_source_id": {"a": 1}}}, None),
        ({"data": {}}, None),
        ({"data": [1]}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_ordering_key_is_a_plain_value_of_the_body(
    load_one: LoadOne, value: object, key: str | None
) -> None:
    handler = load_one("""
        from receiver import on

        @on("*", key="data.data_source_id")
        def take(event): ...
        """)
    assert handler.key_of(value) == key
    assert dataclasses.replace(handler, key=None).key_of(value) is None


def test_a_long_ordering_key_is_replaced_by_its_digest(load_one: LoadOne) -> None:
    handler = load_one("""
        from receiver import on

        @on("*", key="items.0")
        def take(event): ...
        """)
    key = handler.key_of({"items": ["x" * 100_000]})
    assert key is not None
    assert len(key) == 64
    assert handler.key_of({"items": []}) is None


def test_a_loaded_function_is_the_authors_own(load_one: LoadOne) -> None:
    handler = load_one("""
        from receiver import on

        @on("*")
        def take(event): return "taken"
        """)
    assert inspect.isfunction(handler.func)
    assert handler.func({}) == "taken"
