"""Reads a text as a service does: which mentions, links and tags are live in it.

Each reader errs on the side of the attacker: what some client or version of the service might take
for live, is. A bare address (`https://…`) is not reported: docs/channels.md says why.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token


@dataclass(frozen=True)
class Live:
    """Something that a text does to people, and not merely says."""

    kind: str
    """`mention`, `link`, `image` or `tag`."""
    what: str
    """Where a link leads, who is mentioned, the tag."""


class Markup(Enum):
    """How a service reads a text."""

    EXACT = "exact"
    PLAIN = "plain"
    SLACK = "slack"
    DISCORD = "discord"
    TEAMS = "teams"
    TELEGRAM = "telegram"
    TELEGRAM_HTML = "telegram_html"
    MARKDOWN = "markdown"
    MATTERMOST = "mattermost"
    ROCKETCHAT = "rocketchat"
    MATRIX_PLAIN = "matrix_plain"
    MATRIX_HTML = "matrix_html"
    MAIL_HTML = "mail_html"


def live(text: str, markup: Markup) -> list[Live]:
    """All that is live in the text."""
    return list(_READERS[markup](text))


def unseen(text: str) -> list[str]:
    """Characters that change how others are shown, or that no terminal or XML should get."""
    return _UNSEEN.findall(text)


_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# A name after `@` that does not go on from a word: no mail address, that is.
_AT_NAME = re.compile(r"(?<![\w@])@[\w.-]*\w")
_AT_ALL = re.compile(r"@(?:everyone|here|channel|all|room|online)", re.IGNORECASE)


def _mentions(pattern: re.Pattern[str], text: str) -> Iterator[Live]:
    for match in pattern.finditer(text):
        yield Live("mention", match[0])


def _nothing(_text: str) -> Iterator[Live]:
    return iter(())


def _slack(text: str) -> Iterator[Live]:
    """https://docs.slack.dev/messaging/formatting-message-text: all between `<` and `>`."""
    for match in re.finditer(r"<([^<>\n]+)>", text):
        target = match[1].partition("|")[0]
        yield Live("mention" if target[0] in "!@#" else "link", target)


def _discord(text: str) -> Iterator[Live]:
    """https://docs.discord.com/developers/reference#message-formatting, and masked links."""
    yield from _mentions(re.compile(r"@(?:everyone|here)", re.IGNORECASE), text)
    pattern = r"<(?:@[!&]?|#|/[^:>]{1,99}:|id:|a?:\w+:|t:-?|sound:)\w[^>]*>"
    yield from _mentions(re.compile(pattern), text)
    without_code = re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)
    for match in re.finditer(r"(?<!\\)\]\(\s*<?([^)>\s]*)", without_code):
        yield Live("link", match[1])
    for match in re.finditer(r"(?<!\\)<([a-z][\w+.-]*:[^>\s\u200b]*)>", text, re.IGNORECASE):
        yield Live("link", match[1])


def _teams(text: str) -> Iterator[Live]:
    """https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features, read as all of
    CommonMark; and https://learn.microsoft.com/microsoftteams/…/cards-format#mention-support.
    """
    yield from _mentions(re.compile(r"</?at\b", re.IGNORECASE), text)
    yield from _markdown(text)


_commonmark = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _tokens(token.children or [])


def _markdown(text: str) -> Iterator[Live]:
    """https://spec.commonmark.org with tables."""
    for token in _tokens(_commonmark.parse(text)):
        if token.type == "link_open":
            yield Live("link", str(token.attrs["href"]))
        elif token.type == "image":
            yield Live("image", str(token.attrs["src"]))
        elif token.type in ("html_inline", "html_block"):
            yield Live("tag", token.content)


def _prose(text: str) -> str:
    """What of a Markdown text is neither code nor an address."""
    parts = [
        token.content
        for token in _tokens(_commonmark.parse(text))
        if token.type == "text" and token.content
    ]
    return "\n".join(re.sub(r"\b[a-z][\w+.-]*://\S+", " ", part) for part in parts)


def _mattermost(text: str) -> Iterator[Live]:
    """https://docs.mattermost.com/collaborate/mention-people.html; `~channel`, `#tag`."""
    yield from _markdown(text)
    prose = _prose(text)
    yield from _mentions(_AT_NAME, prose)
    yield from _mentions(_AT_ALL, prose)
    yield from _mentions(re.compile(r"(?<![\w~/])~[a-z0-9][\w-]*", re.IGNORECASE), prose)
    yield from _mentions(re.compile(r"(?<![\w#&/])#[^\W\d_][\w.-]+"), prose)


def _rocketchat(text: str) -> Iterator[Live]:
    """https://docs.rocket.chat/docs/mention-in-messages: `@name`, `#channel`; Markdown."""
    yield from _markdown(text)
    prose = _prose(text)
    yield from _mentions(_AT_NAME, prose)
    yield from _mentions(_AT_ALL, prose)
    yield from _mentions(re.compile(r"(?<![\w#&/])#[\w.-]+"), prose)


def _telegram_words(text: str) -> Iterator[Live]:
    """https://core.telegram.org/bots/api#messageentity: what it finds in any text."""
    text = re.sub(r"\b[a-z][\w+.-]*://\S+", " ", text)
    yield from _mentions(re.compile(r"(?<!\w)@\w{3,32}"), text)
    yield from _mentions(re.compile(r"(?<![\w/<])/[a-z]\w{0,63}", re.IGNORECASE | re.ASCII), text)
    yield from _mentions(re.compile(r"(?<!\w)#\w*[^\W\d]\w*"), text)
    yield from _mentions(re.compile(r"(?<!\w)\$[A-Z]{1,8}\b"), text)


def _telegram(text: str) -> Iterator[Live]:
    """The `Markdown` mode of https://core.telegram.org/bots/api#markdown-style."""
    without_code = re.sub(r"```.*?```|`[^`]*`", " ", text, flags=re.DOTALL)
    for match in re.finditer(r"(?<!\\)\[[^\]]*\]\(([^)]*)\)", without_code):
        yield Live("link", match[1])
    yield from _telegram_words(re.sub(r"\]\([^)]*\)", "]", without_code))


class _Html(HTMLParser):
    """Collects tags that do something, and the text."""

    harmless = frozenset(
        [
            "html",
            "head",
            "body",
            "title",
            "meta",
            "table",
            "thead",
            "tbody",
            "tr",
            "td",
            "th",
            "p",
            "div",
            "span",
            "br",
            "hr",
            "b",
            "strong",
            "i",
            "em",
            "u",
            "s",
            "del",
            "code",
            "pre",
            "blockquote",
            "ul",
            "ol",
            "li",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "small",
            "sub",
            "sup",
            "center",
        ]
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Live] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "a":
            self.found.append(Live("link", named.get("href") or ""))
        elif tag == "img":
            self.found.append(Live("image", named.get("src") or ""))
        elif tag not in self.harmless and tag != "style":
            self.found.append(Live("tag", tag))
        self.found += [Live("tag", f"{tag} {name}") for name in named if name.startswith("on")]

    def handle_decl(self, decl: str) -> None:
        if not decl.lower().startswith("doctype html"):
            self.found.append(Live("tag", decl))

    def handle_pi(self, data: str) -> None:
        self.found.append(Live("tag", data))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _html(text: str) -> _Html:
    reader = _Html()
    reader.feed(text)
    reader.close()
    return reader


def _telegram_html(text: str) -> Iterator[Live]:
    reader = _html(text)
    yield from reader.found
    yield from _telegram_words("".join(reader.text))


_MATRIX_NAME = re.compile(r"(?<![\w@])[@#!+][\w.=/-]+:[\w.-]+")


def _matrix_plain(text: str) -> Iterator[Live]:
    """https://spec.matrix.org/v1.14/client-server-api/#user-and-room-mentions; linkified names."""
    yield from _mentions(re.compile("@room", re.IGNORECASE), text)
    yield from _mentions(_MATRIX_NAME, text)


def _matrix_html(text: str) -> Iterator[Live]:
    reader = _html(text)
    yield from reader.found
    yield from _matrix_plain("".join(reader.text))


def _mail_html(text: str) -> Iterator[Live]:
    yield from _html(text).found


_READERS: dict[Markup, Callable[[str], Iterator[Live]]] = {
    Markup.EXACT: _nothing,
    Markup.PLAIN: _nothing,
    Markup.SLACK: _slack,
    Markup.DISCORD: _discord,
    Markup.TEAMS: _teams,
    Markup.TELEGRAM: _telegram,
    Markup.TELEGRAM_HTML: _telegram_html,
    Markup.MARKDOWN: _markdown,
    Markup.MATTERMOST: _mattermost,
    Markup.ROCKETCHAT: _rocketchat,
    Markup.MATRIX_PLAIN: _matrix_plain,
    Markup.MATRIX_HTML: _matrix_html,
    Markup.MAIL_HTML: _mail_html,
}
