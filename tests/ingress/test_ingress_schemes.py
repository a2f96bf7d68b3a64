"""Every scheme over HTTP: where the type is, what makes an event unique, what is kept."""

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingress_server import EVENT, Pairs, Served, claribi_source, served

law = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def body_of(**fields: Any) -> bytes:
    return json.dumps({**fields, "at": time.time_ns()}).encode()


def post(server: Served, source: str, body: bytes, headers: Pairs) -> httpx2.Response:
    """Send it signed, with these headers too, or instead of the signer's own."""
    names = {name.lower() for name, _ in headers}
    own = [pair for pair in server.signed(body, source) if pair[0].lower() not in names]
    return server.post(body, source, [*own, *headers])


def accepted(server: Served, source: str, body: bytes, headers: Pairs = []) -> dict[str, Any]:  # noqa: B006
    """Send it signed and with more headers; the stored event."""
    reply = post(server, source, body, headers)
    assert reply.status_code == 202, reply.text
    return server.event(reply.json()["id"])


@pytest.mark.parametrize(
    ("source", "fields", "headers", "kind"),
    [
        ("claribi", {"event": "goal.reached"}, [], "goal.reached"),
        ("standard", {"type": "user.created"}, [], "user.created"),
        ("github", {"action": "opened"}, [("X-GitHub-Event", "pull_request")], "pull_request"),
        ("stripe", {"type": "invoice.paid", "id": "evt_1"}, [], "invoice.paid"),
        ("slack", {"event": {"type": "app_mention"}, "event_id": "Ev1"}, [], "app_mention"),
        ("shopify", {"id": 1}, [("X-Shopify-Topic", "orders/create")], "orders/create"),
        ("hmac", {"meta": [{"kind": "made.up"}]}, [], "made.up"),
        ("open", {"event": "from.anybody"}, [], "from.anybody"),
    ],
)
def test_a_scheme_is_verified_and_its_type_found(
    server: Served, source: str, fields: dict[str, Any], headers: Pairs, kind: str
) -> None:
    body = body_of(**fields)
    stored = accepted(server, source, body, headers)
    assert (stored["source"], stored["type"], stored["body"]) == (source, kind, body)
    assert stored["secret_index"] == (None if source == "open" else 0)
    if source != "open":
        forged = server.post(body_of(**fields), source, [*server.signed(body, source), *headers])
        assert forged.status_code == 401


@pytest.mark.parametrize(
    ("source", "body", "headers"),
    [
        ("github", b"{}", []),
        ("github", b"{}", [("X-GitHub-Event", "")]),
        ("github", b"{}", [("X-GitHub-Event", "push"), ("x-github-event", "ping")]),
        ("github", b"{}", [("X-GitHub-Event", "push"), ("X-GitHub-Event", "push")]),
        ("by-header", b'{"event":"x"}', [("X-Id", "1"), ("X-Id", "2")]),
        ("hmac", b'{"meta":[]}', []),
        ("hmac", b'{"meta":[{"kind":["x"]}]}', []),
        ("slack", b'{"type":"event_callback"}', []),
    ],
)
def test_no_type_or_two_of_them_is_a_400(
    server: Served, source: str, body: bytes, headers: Pairs
) -> None:
    reply = post(server, source, body, headers)
    assert reply.status_code == 400
    assert reply.json()["detail"]


def test_other_headers_may_be_there_twice(server: Served) -> None:
    accepted(server, "claribi", body_of(event="x"), [("Accept", "a"), ("Accept", "b")])


def test_slack_gets_its_challenge_back_and_nothing_is_stored(server: Served) -> None:
    before = server.count("events")
    body = b'{"type":"url_verification","challenge":"3eZbrw1a","token":"t"}'
    reply = server.post(body, "slack")
    assert (reply.status_code, reply.json()) == (200, {"challenge": "3eZbrw1a"})
    assert server.post(body, "slack", headers=[]).status_code == 401, "only to Slack"
    assert server.count("events") == before


def test_a_handshake_is_slacks_alone(server: Served) -> None:
    assert server.post(b'{"type":"url_verification","challenge":"x"}').status_code == 400


MESSAGES = {
    # source: two requests, and whether they are the same event
    "claribi": ([(b'{"event":"d"}', [])] * 2, True),
    "claribi, a space more": ([(b'{"event":"e"}', []), (b'{"event":"e"} ', [])], False),
    "github, other delivery": (
        [(b'{"a":1}', [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", n)]) for n in "12"],
        True,
    ),
    "github-by-id, other delivery": (
        [(b'{"a":2}', [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", n)]) for n in "12"],
        False,
    ),
    "github-by-id, other body": (
        [(b, [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "3")]) for b in (b"{}", b"{} ")],
        True,
    ),
    "by-header, same": ([(b'{"event":"x","n":%d}' % n, [("X-Id", "1")]) for n in (1, 2)], True),
    "by-header, none": ([(b'{"event":"y"}', [])] * 2, True),
    "stripe, same id": (
        [(b'{"type":"t","id":"evt_a","n":%d}' % n, []) for n in (1, 2)],
        True,
    ),
    "stripe, other id": ([(b'{"type":"t","id":"%d"}' % n, []) for n in (1, 2)], False),
    "stripe, no id": ([(b'{"type":"t","id":null,"n":%d}' % n, []) for n in (1, 2)], False),
    "stripe-by-body, same id": (
        [(b'{"type":"t","id":"evt_a","n":%d}' % n, []) for n in (1, 2)],
        False,
    ),
    "shopify, other topic and id": (
        [(b"{}", [("X-Shopify-Topic", t), ("X-Shopify-Webhook-Id", t)]) for t in ("a", "b")],
        False,
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_what_makes_an_event_unique(server: Served, case: str) -> None:
    source = case.partition(",")[0]
    requests, is_same = MESSAGES[case]
    replies = [post(server, source, body, headers) for body, headers in requests]
    assert [reply.status_code for reply in replies] == [202, 200 if is_same else 202]
    ids = {reply.json()["id"] for reply in replies}
    assert len(ids) == (1 if is_same else 2)


@pytest.mark.parametrize(("source", "second"), [("standard", 200), ("standard-by-body", 202)])
def test_a_signed_message_id_counts_unless_the_source_says_otherwise(
    server: Served, source: str, second: int
) -> None:
    scheme = server.scheme(source)
    statuses = []
    for body in (b'{"type":"t","n":1}', b'{"type":"t","n":2}'):
        headers = scheme.sign(body, message_id="msg_one", now=time.time())
        statuses.append(server.post(body, source, headers).status_code)
    assert statuses == [202, second]


def test_sources_do_not_share_ids(server: Served) -> None:
    assert accepted(server, "stripe", b'{"type":"shared","id":"s"}')
    assert accepted(server, "stripe-by-body", b'{"type":"shared","id":"s"}')


def test_an_id_is_not_a_body(server: Served) -> None:
    """The key of an id can't be made the key of a body: both are hashes, of different texts."""
    body = b'{"type":"t","id":"the very same"}'
    accepted(server, "stripe", body)
    headers = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "the very same")]
    accepted(server, "github-by-id", b'{"x":1}', headers)
    assert server.query("SELECT count(DISTINCT key) = count(*) FROM dedupe_keys GROUP BY source")


def test_headers_are_stored_with_credentials_masked(server: Served) -> None:
    hidden = "made-up-and-not-to-be-stored"
    names = [
        "Authorization", "Proxy-Authorization", "Cookie", "X-API-Key", "X-Auth-Token",
        "X-Gitlab-Token", "X-My-Secret", "X-Password", "ApiKey", "X-Amz-Security-Token",
    ]  # fmt: skip
    headers = [(name, hidden) for name in names] + [("X-Other", "shown"), ("X-Odd", "a: b")]
    stored = accepted(server, "claribi", body_of(event="x"), headers)
    assert hidden not in stored["headers"]
    assert stored["headers"].count("(masked)") == len(names)
    lines = stored["headers"].split("\r\n")
    assert "x-other: shown" in lines
    assert "x-odd: a: b" in lines
    assert any(line.startswith("x-claribi-signature: t=") for line in lines)
    refused = server.post(b"{", headers=[*server.signed(b"{"), ("Cookie", hidden)])
    assert refused.status_code == 400
    ((kept,),) = server.query("SELECT headers FROM rejections ORDER BY id DESC LIMIT 1")
    assert hidden not in kept


@law
@given(st.binary(max_size=3000))
def test_any_signed_bytes_are_stored_as_they_came_where_the_source_keeps_them(
    server: Served, body: bytes
) -> None:
    """R4, `malformed = "store"`: a sender is never made to send the same for ever."""
    reply = server.post(body, "keeping")
    assert reply.status_code in (200, 202)
    stored = server.event(reply.json()["id"])
    assert (stored["body"], stored["type"]) == (body, "clarihook.malformed")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@law
@given(st.dictionaries(texts, texts | st.integers() | st.none(), max_size=5), st.booleans())
def test_json_is_stored_byte_for_byte(
    server: Served, value: dict[str, Any], is_ascii: bool
) -> None:
    value["event"] = "law.tested"
    body = json.dumps(value, ensure_ascii=is_ascii, indent=1 if is_ascii else None).encode()
    reply = server.post(body)
    if reply.status_code == 400:
        assert len(body.split(b'"event"')) > 2, reply.text
        return
    assert server.event(reply.json()["id"])["body"] == body


header_bytes = st.lists(
    st.tuples(
        st.sampled_from(["X-ClariBI-Signature", "X-Other", "Content-Type", "Cookie"]),
        st.binary(max_size=60).filter(lambda b: not set(b) & set(range(32)) | set(b) & {127}),
    ),
    max_size=5,
)


@law
@given(header_bytes, st.binary(max_size=100))
def test_any_unproven_request_is_a_401(
    server: Served, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    clean = [(name, bytes(b for b in value if 32 <= b != 127).strip()) for name, value in headers]
    reply = server.client.post("/hooks/claribi", content=body, headers=clean)
    assert reply.status_code == 401


CATCHING = """
from receiver import on

@on("*")
async def everything(event: dict) -> None:
    pass
"""


def test_a_kept_malformed_body_reaches_no_handler(tmp_path: Path) -> None:
    sources = {"claribi": claribi_source(malformed="store")}
    with served(tmp_path, sources=sources, handlers=CATCHING) as server:
        assert server.post(b"\xff").status_code == 202
        assert server.post(b"\xff").status_code == 200, "and is recognised"
        assert server.count("deliveries") == 0
        assert server.post(EVENT).status_code == 202
        assert server.count("deliveries") == 1


def test_a_flood_of_unproven_requests_is_kept_in_part_and_in_short(tmp_path: Path) -> None:
    sources = {"claribi": claribi_source(), "other": claribi_source()}
    with served(tmp_path, sources=sources, rejections={"max_body_bytes": 1024}) as server:
        begun = time.monotonic()
        for number in range(40):
            assert server.post(b"x" * 5000 + b"%d" % number, headers=[]).status_code == 401
        most = 20 + time.monotonic() - begun + 1
        ((kept, longest, size),) = server.query(
            "SELECT count(*), max(length(body)), max(body_bytes) FROM rejections"
        )
        assert 20 <= kept <= most
        assert (longest, size) == (1024, 5002)
        assert server.post(b"x", "other", headers=[]).status_code == 401
        ((told,),) = server.query("SELECT count(*) FROM rejections WHERE source = 'other'")
        assert told == 1, "a flood on one source hides nothing of another"
        assert server.count("events") == 0


def test_unproven_requests_push_out_nothing_that_is_kept_whole(tmp_path: Path) -> None:
    """R4: anybody can send what is unsigned, as much as they like."""
    with served(tmp_path) as server:
        server.app.engine.store._max_rejections = 5
        assert server.post(b"{").status_code == 400
        for number in range(10):
            assert server.post(b"%d" % number, headers=[]).status_code == 401
        rows = server.query("SELECT status, body FROM rejections ORDER BY id")
        assert rows == [(400, b"{"), *((401, b"%d" % number) for number in range(5, 10))]
