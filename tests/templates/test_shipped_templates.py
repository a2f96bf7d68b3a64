"""The shipped templates: whatever comes, a message goes out, and nothing in it is alive."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from receiver.model import Severity
from receiver.samples import SAMPLE_DATA
from receiver.templates.library import Templates
from receiver.testing.events import make_event

TEMPLATES = Templates(public_url="https://hooks.example.com")
NAMES = TEMPLATES.names
FIELDS = sorted({
    *(name for data in SAMPLE_DATA.values() for name in data), "error", "error_message", "reason",
    "message", "goal", "report", "ai_credits", "attempts", "name", "delivery_id",
})  # fmt: skip
HOSTILE = [
    "<!channel>", "<!here|x>", "<@U12345>", "@everyone", "@here", "[x](http://evil.example)",
    "![x](http://evil.example/x.png)", "[x][y]\n\n[y]: http://evil.example", "<http://evil.example>",
    "http://evil.example", "www.evil.example", "<script>alert(1)</script>", "javascript:alert(1)",
    "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>", '"><b onclick=x>', "'><a href=//e>",
    "\u202eevil\u202c", "\u2066x\u2069", "# heading", "> quote", "- item", "1. item", "---",
    "    code", "`` ` ``", "```\ncode\n```\n[x](http://evil.example)", "|a|b|\n|-|-|", "**b**",
    "&lt;b&gt;", "\\[x](http://evil.example)", "{{ 7 * 7 }}", "{% raw %}", "${x}", "\ud800",
    "\x00\x1b[31m",
    "x" * 1_000_000, "<b>" * 50_000, "[" * 5_000, "*" * 5_000, "a" + "`" * 5_000,
]  # fmt: skip
# By its place, or Hypothesis would write a megabyte into its own name for it.
hostile = st.integers(0, len(HOSTILE) - 1).map(lambda place: HOSTILE[place])
texts = hostile | st.lists(hostile | st.text(max_size=9), max_size=4).map(" ".join) | st.text()
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
payloads = values | st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=12)
ADDED = dict.fromkeys(
    (
        "name", "failures", "since", "error", "data_source", "resync", "oddities", "usual",
        "durations", "author", "report_url", "trouble", "payload", "usage", "forecast", "pricing",
        "bars", "remaining", "total",
    ),
    values,
)  # fmt: skip


class Markup(HTMLParser):
    """The tags, and the addresses in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]


def looks_harmless(html: str, addresses: set[str]) -> None:
    found = Markup(html)
    assert found.tags <= {"div", "table", "tr", "td", "br", "a", "pre", "code"}
    assert found.attributes <= {"style", "role", "cellpadding", "cellspacing", "href"}
    assert set(found.addresses) <= addresses


def shows_harmless(markdown: str, addresses: set[str]) -> None:
    """As CommonMark with GitHub's extensions reads it, links of bare addresses too."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    kinds: set[str] = set()
    for token in parser.parse(markdown):
        for each in (token, *(token.children or ())):
            kinds.add(each.type)
            if each.type == "link_open":
                assert each.attrs["href"] in addresses
            if each.type == "text":
                assert "://" not in each.content
                assert not re.search(r"@(everyone|here|channel|all)\b", each.content)
    assert not kinds & {
        "html_block", "html_inline", "image", "heading_open", "hr", "blockquote_open", "table_open",
        "ordered_list_open",
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(NAMES), payload=payloads, added=st.fixed_dictionaries({}, optional=ADDED)
)
def test_no_payload_fails_and_none_is_alive(name: str, payload: Any, added: dict[str, Any]) -> None:
    """A route gives the event alone, and a handler adds what it likes."""
    body = {"event": name, "data": payload}
    event = make_event(json.dumps(body).encode())
    for more in ({}, added):
        made = TEMPLATES.render(name, event, Severity.WARNING, more)
        if not more:
            assert made.notes == (), made.notes
            assert set(made.bodies) == {"text", "markdown", "html"}
            assert made.title
        assert "\n" not in made.title
        ours = {f"https://hooks.example.com/events/{event.id}"}
        given_url = added.get("report_url")
        if isinstance(given_url, str) and re.match("https?://", given_url.strip()):
            ours |= set(re.findall(r'href="([^"]*)"', made.bodies["html"]))
        looks_harmless(made.bodies.get("html", ""), ours)
        shows_harmless(made.bodies.get("markdown", ""), ours)
        for text in (made.title, *made.bodies.values()):
            assert not re.search("[\x00\x1b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_template_has_all_three_formats(name: str) -> None:
    assert set(TEMPLATES.files(name)) == {"text", "markdown", "html"}
    assert not TEMPLATES.is_own(name)
