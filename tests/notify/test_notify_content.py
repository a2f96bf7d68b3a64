"""Text on its way out: harmless in every markup, and never too long."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notify_endpoints import say

from receiver.notify.content import (
    CUT_NOTICE,
    MAX_BODY_CHARS,
    MAX_PIECES,
    Content,
    file_name,
    fit,
    media_type,
    prepare,
    shorten,
)

HOSTILE = (
    "<!channel>",
    "<!here|all>",
    "<@U12345>",
    "<#C12345>",
    "<@&9876>",
    "@everyone",
    "@here",
    "@channel",
    "@all",
    "<http://evil.example|your bank>",
    "[your bank](http://evil.example)",
    "![x](http://evil.example/track.png)",
    "[x]: http://evil.example",
    "<script>alert(1)</script>",
    "<a href='http://evil.example'>x</a>",
    "</b>",
)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("schema", ["slack", "discord", "tgram", "mmost", "msteams", "workflows"])
def test_live_markup_in_plain_text_is_taken_apart_and_still_readable(
    schema: str, hostile: str
) -> None:
    ready = prepare(say(f"a {hostile} b", hostile), schema)
    for text in (ready.body, ready.title):
        assert hostile not in text
        assert hostile in text.replace("\u200b", "")


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("schema", ["json", "mailto", "mailtos", "syslog"])
def test_machines_and_mail_get_the_exact_text(schema: str, hostile: str) -> None:
    assert prepare(say(hostile, "T"), schema).body == hostile


@pytest.mark.parametrize("mention", ["<!channel>", "@everyone", "<@U12345>"])
def test_mentions_are_taken_out_of_markdown_too(mention: str) -> None:
    ready = prepare(say(f"**b** [l](http://x) {mention}", format="markdown"), "slack")
    assert mention not in ready.body
    assert "**b** [l](http://x)" in ready.body


@pytest.mark.parametrize("text", ["ops@example.com", "a < b and c > d", "1 @ 2", "x[0]", "5<6"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert prepare(say(text), "slack").body == text


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\0", "\u2028", "\x0b", "\x85"])
def test_no_line_break_is_left_in_a_title(break_: str) -> None:
    title = prepare(say(title=f"Hello{break_}Bcc: all@example.com"), "mailto").title
    assert title == "Hello Bcc: all@example.com"


def test_controls_are_left_out_of_a_body_and_line_ends_made_one() -> None:
    body = prepare(say("a\r\nb\rc\td\x1b[31m\0\u202ee\ud800"), "json").body
    assert body == "a\nb\nc\td[31me"


@given(st.text(), st.text())
def test_prepared_text_is_never_empty(body: str, title: str) -> None:
    ready = prepare(say(body, title), "slack")
    assert ready.body.strip()
    assert "\n" not in ready.title
    assert "\r" not in ready.title


@given(length=st.integers(0, 60_000), limit=st.integers(50, 40_000))
def test_any_text_fits_into_three_pieces(length: int, limit: int) -> None:
    def count(content: Content) -> int:
        return -(-len(content.body) // limit)

    whole = Content("t", "x" * length, "text")
    cut = fit(shorten(whole), count)
    assert count(cut) <= MAX_PIECES
    assert len(cut.body) <= MAX_BODY_CHARS + len(CUT_NOTICE)
    if cut != whole:
        assert cut.body.endswith(CUT_NOTICE)
        # It keeps nearly all that would have fitted.
        room = min(length, MAX_BODY_CHARS, 3 * limit) - len(CUT_NOTICE)
        assert len(cut.body) >= room - length // 50 - 2 - len(CUT_NOTICE)


def test_html_is_not_cut_inside_a_tag() -> None:
    html = "<a href='http://x'>x</a>" * 100
    for limit in range(60, 90):
        cut = fit(Content("t", html, "html"), lambda c, limit=limit: -(-len(c.body) // limit))
        kept = cut.body.removesuffix(CUT_NOTICE)
        assert kept
        assert html.startswith(kept)
        assert kept.count("<") == kept.count(">")


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("chart.png", "chart.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ("..", "attachment"),
        ("", "attachment"),
        ('a"\r\nX: y.png', "aX: y.png"),
    ],
)
def test_attachment_names_are_plain(given_name: str, name: str) -> None:
    assert file_name(given_name) == name


@pytest.mark.parametrize("bad", ["", "png", "image/png\r\nX: y", "image/png; x=1", "a/b/c"])
def test_what_is_no_media_type_is_sent_as_bytes(bad: str) -> None:
    assert media_type(bad) == "application/octet-stream"
    assert media_type("image/svg+xml") == "image/svg+xml"


@pytest.mark.parametrize(
    ("whole_at", "format_", "end"),
    [
        ("", "text", "… (cut: the whole text is in clarihook)"),
        ("https://h/events/evt_1", "text", "… (cut; the whole text: https://h/events/evt_1)"),
        ("https://h/events/evt_1", "markdown", "… (cut; the whole text: https://h/events/evt_1)"),
        ("https://h/e", "html", 'the whole text: <a href="https://h/e">https://h/e</a>)</p>'),
        ("clarihook events show evt_1", "html", "the whole text: clarihook events show evt_1)</p>"),
    ],
)
def test_a_cut_text_says_where_all_of_it_is(whole_at: str, format_: Any, end: str) -> None:
    long = replace(say("word " * 9_000, format=format_), whole_at=whole_at)
    cut = fit(shorten(prepare(long, "slack")), lambda each: -(-len(each.body) // 4_000))
    assert cut.body.endswith(end)
    assert len(cut.body) <= 12_000


def test_a_cut_block_of_code_is_closed() -> None:
    long = say("before\n```\n" + "line\n" * 9_000 + "```", format="markdown")
    cut = shorten(prepare(long, "slack"))
    assert cut.body.count("```") == 2
    assert cut.body.endswith("```" + CUT_NOTICE)
