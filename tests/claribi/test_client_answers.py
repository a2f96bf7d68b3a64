"""Reading answers: errors in every shape, bodies that lie, compression, size."""

import gzip
import json
import pickle
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from client_faces import Face
from client_server import Stage, serve
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from claribi import (
    ApiStatusError,
    AuthenticationError,
    BadRequestError,
    ClariBIError,
    DecodeError,
    InsufficientCreditsError,
    NotFoundError,
    OutcomeUnknownError,
    RequestInfo,
    ServerError,
    TokenExpiredError,
    ValidationError,
)
from claribi.answers import MESSAGE_LIMIT, Reply, error_of, parse_json
from claribi.body import BadAnswerError, Body

INFO = RequestInfo("GET", "reports/1/")
SOURCE = {
    "id": 1,
    "name": "n",
    "type": "api",
    "engine": "e",
    "status": "active",
}


class Scripted:
    """A server that answers everything with one answer."""

    def __init__(self) -> None:
        self.answer = Response(b"{}")
        self.app = Starlette(routes=[Route("/{path:path}", self._reply, methods=["GET", "POST"])])

    async def _reply(self, _: Request) -> Response:
        return self.answer


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[str, Scripted]]:
    one = Scripted()
    with serve(one.app) as url:
        yield url, one


def ask(face: Face, scripted: tuple[str, Scripted], answer: Response, **settings: Any) -> Any:
    url, server = scripted
    server.answer = answer
    client = face.client(base_url=url, api_key="k", retries=0, **settings)
    return face.run(lambda: client.data_sources.get(1))


def error(status: int, body: Any, **headers: str) -> ApiStatusError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of(Reply(status, headers, content), INFO, 0.0)


def test_the_references_own_shape() -> None:
    found = error(404, {"error": "not_found", "message": "No report 1", "detail": {"id": 1}})
    assert type(found) is NotFoundError
    assert (found.message, found.detail) == ("No report 1", {"id": 1})
    assert str(found) == "GET reports/1/: 404 not_found: No report 1"


def test_field_errors() -> None:
    detail = {"name": ["This field is required."], "type": "unknown"}
    found = error(400, {"error": "validation_error", "message": "Invalid", "detail": detail})
    assert isinstance(found, ValidationError)
    assert found.field_errors == {"name": ["This field is required."], "type": ["unknown"]}


def test_django_rest_frameworks_shapes() -> None:
    found = error(401, {"detail": "Token is invalid", "code": "token_not_valid"})
    assert type(found) is AuthenticationError
    assert (found.code, found.message) == ("token_not_valid", "Token is invalid")
    found = error(400, {"name": ["This field is required."]})
    assert isinstance(found, ValidationError)
    assert found.field_errors == {"name": ["This field is required."]}


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b"<html><h1>Bad gateway</h1></html>"])
def test_what_is_no_error_object_is_kept_as_text(body: bytes) -> None:
    found = error(502, body)
    assert type(found) is ServerError
    assert found.code == ""
    assert found.message == body.decode()


def test_unknown_code_keeps_its_name_and_the_class_of_its_status() -> None:
    found = error(403, {"error": "plan_too_small", "message": "No"})
    assert found.code == "plan_too_small"
    assert type(found).__name__ == "PermissionDeniedError"
    assert type(error(418, {"error": "teapot"})) is ApiStatusError
    assert type(error(400, {"error": "odd"})) is BadRequestError


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, {}),
        (403, {"error": "insufficient_credits", "message": "No"}),
        (422, {"error": "unprocessable", "message": "Not enough AI credits"}),
    ],
)
def test_missing_credits_have_their_class(status: int, body: Any) -> None:
    assert type(error(status, body)) is InsufficientCreditsError


def test_credits_of_the_sandbox_run_out(face: Face, stage: Stage) -> None:
    stage.sandbox.set_credits(0)
    client = face.client(**stage.key)
    with pytest.raises(InsufficientCreditsError):
        face.run(lambda: client.analytics.query("What sold best?"))


def test_request_id_is_kept() -> None:
    assert error(500, {}, **{"x-request-id": "req-7"}).request_id == "req-7"


def test_message_is_short_printable_and_without_secrets() -> None:
    token = "eyJhbGciOiJub25lIn0.eyJ1c2VyIjoxfQ.c2lnbmF0dXJl"
    text = f"\x1b[31m bad key claribi_sk_live_abcdef123 or {token}\x00" + "x" * 5000
    message = error(401, {"error": "authentication_failed", "message": text}).message
    assert "claribi_sk_live" not in message
    assert "eyJ" not in message
    assert message.isprintable()
    assert len(message) <= MESSAGE_LIMIT


@given(st.integers(300, 599), st.binary(max_size=200))
def test_reading_an_error_is_total_over_bytes(status: int, body: bytes) -> None:
    assert error(status, body).status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.integers(300, 599), st.dictionaries(st.sampled_from(["error", "message", "code"]), JSON))
def test_reading_an_error_is_total_over_json(status: int, body: Any) -> None:
    assert str(error(status, body))


def test_errors_can_be_pickled() -> None:
    found = error(404, {"error": "not_found", "message": "No"})
    copy = pickle.loads(pickle.dumps(found))
    assert (type(copy), str(copy), copy.problem) == (type(found), str(found), found.problem)
    unknown = OutcomeUnknownError("m", request=INFO, status=502, reconcile=lambda: None)
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)


def test_token_expired_is_an_authentication_error() -> None:
    assert issubclass(TokenExpiredError, AuthenticationError)


# Bodies over the network


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:9/", "/", "http://[", "http://x:99999999/", ""]
)
def test_redirect_is_an_error_with_a_hint(
    location: str, face: Face, scripted: tuple[str, Scripted]
) -> None:
    answer = Response(status_code=302, headers={"location": location})
    with pytest.raises(ApiStatusError, match="base_url"):
        ask(face, scripted, answer)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b'{"id": 1', b"\xff\xfe", b'{"id": 1, "name": "n"}', b"[]", b"[" * 100_000],
    ids=["html", "cut", "no utf-8", "fields missing", "list", "deep"],
)
def test_wrong_success_is_a_decode_error(
    body: bytes, face: Face, scripted: tuple[str, Scripted]
) -> None:
    with pytest.raises(DecodeError, match=r"GET data-sources/1/"):
        ask(face, scripted, Response(body, media_type="application/json"))


def test_decode_error_quotes_no_value(face: Face, scripted: tuple[str, Scripted]) -> None:
    body = SOURCE | {"configuration": {"port": "hunter2-is-no-port"}}
    with pytest.raises(DecodeError) as caught:
        ask(face, scripted, Response(json.dumps(body)))
    assert "configuration.port" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_nesting_is_limited_to_64_levels() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64)
    with pytest.raises(ValueError, match="64"):
        parse_json(b"[" * 65 + b"]" * 65)
    assert parse_json(b"[" + b"{}," * 999 + b"{}]")


def test_gzip_is_read(face: Face, scripted: tuple[str, Scripted]) -> None:
    packed = gzip.compress(json.dumps(SOURCE).encode())
    answer = Response(packed, headers={"content-encoding": "gzip"})
    assert ask(face, scripted, answer).name == "n"


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        (gzip.compress(b" " * 50_000_000), "gzip", "over"),
        (gzip.compress(json.dumps(SOURCE).encode())[:-9], "gzip", "too early"),
        (b"no gzip at all", "gzip", "not gzip"),
        (zlib.compress(b"{}"), "deflate", "not asked for"),
        (b"{}", "br", "not asked for"),
    ],
    ids=["bomb", "cut", "not gzip", "deflate", "br"],
)
def test_bad_compression_is_a_decode_error(
    content: bytes, encoding: str, text: str, face: Face, scripted: tuple[str, Scripted]
) -> None:
    answer = Response(content, headers={"content-encoding": encoding})
    with pytest.raises(DecodeError, match=text):
        ask(face, scripted, answer)


def test_no_more_of_a_bomb_is_unpacked_than_the_cap() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    body = Body(httpx2.Response(200, headers={"content-encoding": "gzip"}), max_bytes=1000)
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswerError, match="over 1000 bytes"):
            body.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_error_whose_body_is_unreadable_is_still_that_error(
    face: Face, scripted: tuple[str, Scripted]
) -> None:
    with pytest.raises(NotFoundError):
        ask(face, scripted, Response(b"??", 404, headers={"content-encoding": "br"}))
    url, server = scripted
    server.answer = Response(b" " * 2000, 504)
    client = face.client(base_url=url, api_key="k", max_body_bytes=1000)
    with pytest.raises(OutcomeUnknownError):
        face.run(lambda: client.analytics.query("What sold best?"))


def test_body_over_the_cap_is_not_read(face: Face, scripted: tuple[str, Scripted]) -> None:
    fits = json.dumps(SOURCE).encode().ljust(1000)
    assert ask(face, scripted, Response(fits), max_body_bytes=1000).id == 1
    with pytest.raises(DecodeError, match="max_body_bytes"):
        ask(face, scripted, Response(fits + b" "), max_body_bytes=1000)


def test_connection_serves_on_after_a_bad_body(face: Face, scripted: tuple[str, Scripted]) -> None:
    url, server = scripted
    client = face.client(base_url=url, api_key="k", max_connections=1, max_body_bytes=1000)
    for _ in range(3):
        server.answer = Response(b" " * 100_000)
        with pytest.raises(ClariBIError):
            face.run(lambda: client.data_sources.get(1))
        server.answer = Response(json.dumps(SOURCE))
        assert face.run(lambda: client.data_sources.get(1)).id == 1


def test_empty_answer_is_one_without_fields(face: Face, scripted: tuple[str, Scripted]) -> None:
    url, server = scripted
    server.answer = Response(status_code=202)
    client = face.client(base_url=url, api_key="k")
    assert face.run(lambda: client.data_sources.sync(1)).task_id is None
