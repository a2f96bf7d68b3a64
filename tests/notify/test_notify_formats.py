"""A message in several formats: each service gets the one that suits it."""

import email
import email.policy
import json
from pathlib import Path

import pytest
from notify_endpoints import Mail, MakeTarget, Web, say, send

from receiver.model import Message, Outcome
from receiver.notify.content import prepare
from receiver.notify.file_target import FileTarget, file_path

THREE = say(
    "plain: 3 left",
    bodies={"markdown": "**marked** [up](https://example.com/x)", "html": "<p>in <b>HTML</b></p>"},
)
TOKEN = "t" * 24


@pytest.mark.parametrize(
    ("schema", "format_"),
    [
        ("mailto", "html"), ("ses", "html"),
        ("slack", "markdown"), ("discord", "markdown"), ("workflows", "markdown"),
        ("mmost", "markdown"), ("rocket", "markdown"), ("matrix", "text"),
        ("ntfy", "markdown"), ("tgram", "markdown"),
        ("json", "text"), ("twilio", "text"), ("pagerduty", "text"),
    ],
)  # fmt: skip
def test_each_service_takes_the_format_that_suits_it(schema: str, format_: str) -> None:
    ready = prepare(THREE, schema)
    assert (ready.format, ready.body) == (format_, THREE.body_in(format_)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", ["slack", "mailto", "twilio"])
def test_a_message_in_one_format_goes_out_in_it(schema: str) -> None:
    assert prepare(say("**b**", format="markdown"), schema).format == "markdown"


def test_without_html_a_mail_is_plain_text_rather_than_markdown() -> None:
    assert prepare(say("plain", bodies={"markdown": "**b**"}), "mailto").body == "plain"


def test_the_url_has_the_last_word(web: Web, make_target: MakeTarget) -> None:
    send(make_target(f"ntfy://{web.host}/topic?format=text"), THREE)
    assert json.loads(web.requests[0].body)["message"] == "plain: 3 left"
    assert "X-Markdown" not in web.requests[0].headers


def test_ntfy_is_told_that_it_is_markdown(web: Web, make_target: MakeTarget) -> None:
    target = make_target(f"ntfy://{web.host}/topic")
    send(target, THREE)
    assert json.loads(web.requests[0].body)["message"] == THREE.bodies["markdown"]
    assert web.requests[0].headers["X-Markdown"] == "yes"
    send(target, say("2 * 3 * 4"))
    assert json.loads(web.requests[1].body)["message"] == "2 * 3 * 4"
    assert "X-Markdown" not in web.requests[1].headers


@pytest.mark.parametrize("schema", ["mmost", "rocket"])
def test_chats_get_the_markdown_as_it_is(web: Web, make_target: MakeTarget, schema: str) -> None:
    rest = {"mmost": f"{web.host}/{TOKEN}", "rocket": f"{'a' * 17}%2F{'b' * 24}@{web.host}/%23ops"}
    result = send(make_target(f"{schema}://{rest[schema]}"), THREE)
    assert result.outcome is Outcome.DELIVERED, result.error
    assert "**marked**" in json.loads(web.requests[0].body)["text"]


def test_a_mail_has_the_html_and_a_plain_reading_of_it(mail: Mail, make_target: MakeTarget) -> None:
    send(make_target(f"mailto://127.0.0.1:{mail.port}?from=a@example.com&to=b@example.com"), THREE)
    letter = email.message_from_bytes(mail.letters[0], policy=email.policy.default)
    html = letter.get_body(("html",))
    assert html is not None
    assert "<p>in <b>HTML</b></p>" in html.get_content()
    plain = letter.get_body(("plain",))
    assert plain is not None
    assert "in HTML" in plain.get_content()


def test_a_file_gets_the_text(tmp_path: Path) -> None:
    path = file_path("file://out.jsonl", tmp_path, where="X")
    said = Message(channel="ops", title="T", body="<p>h", format="html", bodies={"text": "plain"})
    send(FileTarget("ops/1-file", path, home=tmp_path, timeout_seconds=5), said)
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["format"], line["body"]) == ("text", "plain")
