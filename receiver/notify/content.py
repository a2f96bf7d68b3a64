"""What a message's text becomes before a service gets it: safe in its markup, and not too long.

A payload's text is data. In the markup of chat services `<!channel>`, `@everyone`, `<b>` and
`[text](link)` are not, and Apprise escapes them only for some services and formats
(APPRISE.md, "Slack injection"): its Discord and Mattermost plugins pass plain text on raw.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from html import escape

from receiver.model import Message, MessageFormat, Severity

MAX_BODY_CHARS = 20_000
MAX_TITLE_CHARS = 250
MAX_PIECES = 3
CUT_NOTICE = "\n… (cut: the whole text is in clarihook)"
EMPTY_BODY = "(no text)"

# Machines and mail clients: nothing there turns plain text into links, pings or tags of its own.
EXACT_SCHEMAS = frozenset(
    {
        "json",
        "jsons",
        "xml",
        "xmls",
        "form",
        "forms",
        "mailto",
        "mailtos",
        "smtp",
        "smtps",
        "syslog",
        "rsyslog",
        "mqtt",
        "mqtts",
        "apprise",
        "apprises",
        "file",
    }
)
# Services that show Markdown; Apprise turns it into each one's own markup. Not Matrix: Apprise
# makes HTML of it, in which what stood in a block of code may come out as live tags.
MARKDOWN_SCHEMAS = frozenset({
    "slack", "discord", "guilded", "workflow", "workflows", "mmost", "mmosts", "rocket",
    "rockets", "ntfy", "ntfys", "tgram", "zulip", "gchat", "webex",
    "wxteams", "gotify", "gotifys", "cliq", "zcliq", "zohocliq", "twist", "goalert",
    "goalerts", "ilert", "incidentio", "squadcast", "dingtalk", "feishu", "lark", "reddit",
    "github",
})  # fmt: skip
# Of these, the ones to whose plugins Markdown is text unless they are told otherwise.
TOLD_MARKDOWN_SCHEMAS = frozenset(
    {"mmost", "mmosts", "ntfy", "ntfys", "zulip", "gotify", "gotifys"}
)
MAIL_SCHEMAS = frozenset({
    "mailto", "mailtos", "acs", "azure", "brevo", "groundmail", "mailersend", "mailgun",
    "o365", "postmark", "resend", "sendgrid", "sendpulse", "ses", "smtp2go", "sparkpost",
})  # fmt: skip
NOTIFY_TYPES = {
    Severity.INFO: "info",
    Severity.SUCCESS: "success",
    Severity.WARNING: "warning",
    Severity.CRITICAL: "failure",
}
"""Apprise's word for each severity: it picks the colour and the icon."""

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_URL_FORMAT = re.compile(r"[?&]format=(text|markdown|html)(?=&|$)", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "\u200b"
_CASTS = "\u061c\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
"""What turns a line's direction, hides a text in another, or can't be encoded or put into XML."""
_CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_CASTS}]")
_MARKDOWN_SPECIAL = re.compile(r"[\\`*_\[\]<>&#|~]")
_TITLE_BREAKS = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_CASTS}]+")

# Places in which a zero-width space takes the life out of what would begin there.
_MENTION = (
    r"(?<=@)(?=everyone|here|channel|all|room|online)|(?<![^\W_]@)(?<=@)(?=[\w.-])|(?<=<)(?=[!@#&])"
    # Teams: Apprise makes a mention of it wherever it stands, in code too.
    r"|(?<=<)(?=/?at\b)"
    # Discord's commands, places, moments and emoji, which a backslash may not stop.
    r"|(?<=<)(?=/[^\s:>]{1,99}:\d|id:|t:-?\d|a?:\w{1,99}:\d)"
)
# Tags, Slack's and Discord's links and emoji; a Markdown link, image or definition.
_LINK = r"(?<=<)(?=[/:?a-z])|(?<=\])(?=[(\[:])"
_MARKS = {
    "mmost": "#~",
    "mmosts": "#~",
    "rocket": "#",
    "rockets": "#",
    "tgram": "#$/",
    "matrix": "#!+",
    "matrixs": "#!+",
}
"""What makes a word a channel, a tag or a command, where it does not stand in an address."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's text, ready for one service."""

    title: str
    body: str
    format: MessageFormat
    notice: str = CUT_NOTICE
    """What ends the body where it is cut."""


def wanted_formats(
    schema: str, asked_for: MessageFormat | None = None
) -> tuple[MessageFormat, ...]:
    """The formats that suit the service of that URL scheme, the best first.

    `asked_for` is the one that the URL itself names (`?format=text`).

    >>> wanted_formats("mailto"), wanted_formats("twilio")
    (('html', 'text', 'markdown'), ('text', 'markdown', 'html'))
    """
    formats: tuple[MessageFormat, ...] = ("text", "markdown", "html")
    if schema in MAIL_SCHEMAS:
        formats = ("html", "text", "markdown")
    elif schema in MARKDOWN_SCHEMAS:
        formats = ("markdown", "text", "html")
    return formats if asked_for is None else (asked_for, *formats)


def format_of_url(url: str) -> MessageFormat | None:
    """The format that a target's URL names; None if it leaves the choice to us.

    >>> format_of_url("slack://a/b/c/#ops?format=text"), format_of_url("json://example.com")
    ('text', None)
    """
    found = _URL_FORMAT.search(url)
    formats: dict[str, MessageFormat] = {"text": "text", "markdown": "markdown", "html": "html"}
    return None if found is None else formats[found[1].lower()]


def prepare(message: Message, schema: str, asked_for: MessageFormat | None = None) -> Content:
    """The message's title and body, harmless in the markup of the service of that URL scheme.

    Of a message in several formats the one that suits the service best: see `wanted_formats`.
    Plain text, which every title is, keeps its visible characters; a zero-width space takes the
    life out of mentions, tags and links. In Markdown and HTML, which only our own templates write,
    just the mentions are taken out.
    """
    body, format_ = message.body_in(*wanted_formats(schema, asked_for))
    title = _TITLE_BREAKS.sub(" ", message.title).strip()
    title = _defuser(schema, "text")(title)[:MAX_TITLE_CHARS]
    if schema == "tgram" and format_ == "markdown":
        # Apprise joins it to the body before it reads that as Markdown.
        title = _MARKDOWN_SPECIAL.sub(r"\\\g<0>", title)
    defuse = _defuser(schema, format_)
    body = defuse(_CONTROLS.sub("", body.replace("\r\n", "\n").replace("\r", "\n")))
    if not body.strip():
        # Apprise refuses an empty body, even below a title.
        title, body = "", title or EMPTY_BODY
    return Content(title, body, format_, cut_notice(message.whole_at, format_))


def cut_notice(whole_at: str, format_: MessageFormat) -> str:
    """What ends a body that is cut: where the whole text is, an address or a command.

    >>> cut_notice("clarihook events show evt_1", "text")
    '\\n… (cut; the whole text: clarihook events show evt_1)'
    """
    if not whole_at:
        return CUT_NOTICE
    if format_ != "html":
        return f"\n… (cut; the whole text: {whole_at})"
    shown = escape(whole_at)
    link = f'<a href="{shown}">{shown}</a>' if whole_at.startswith("http") else shown
    return f"<p>… (cut; the whole text: {link})</p>"


def shorten(content: Content) -> Content:
    """The content, cut with a notice where it is longer than `MAX_BODY_CHARS`."""
    return content if len(content.body) <= MAX_BODY_CHARS else _cut(content, MAX_BODY_CHARS)


def fit(content: Content, count_pieces: Callable[[Content], int]) -> Content:
    """The content, cut with a notice where it would be more than `MAX_PIECES` messages.

    `count_pieces` says how many messages the service makes of a content. Escaping and the
    service's own splitting rules decide that, so the cut is found by trying (at most 16 times).
    """
    if count_pieces(content) <= MAX_PIECES:
        return content
    body = content.body.removesuffix(content.notice)
    content = replace(content, body=body)
    fits, too_long = 0, len(body)
    while too_long - fits > max(1, too_long // 50):
        middle = (fits + too_long) // 2
        if count_pieces(_cut(content, middle)) <= MAX_PIECES:
            fits = middle
        else:
            too_long = middle
    return _cut(content, fits)


def file_name(name: str) -> str:
    """An attachment's name without folders, controls and quotes, at most 100 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return _TITLE_BREAKS.sub("", last).replace('"', "").strip(". ")[-100:] or "attachment"


def media_type(content_type: str) -> str:
    """The content type if it is one, else that of unknown bytes: it becomes a mail header."""
    return content_type if _MEDIA_TYPE.fullmatch(content_type) else "application/octet-stream"


def _cut(content: Content, length: int) -> Content:
    body = content.body[:length]
    if content.format == "html" and body.rfind("<") > body.rfind(">"):
        body = body[: body.rfind("<")]
    if content.format == "markdown" and f"\n{body}".count("\n```") % 2:
        body = body.rstrip("`\n") + "\n```"  # or the notice would be code as well
    return replace(content, body=body.rstrip() + content.notice)


def _defuser(schema: str, format_: MessageFormat) -> Callable[[str], str]:
    if schema in EXACT_SCHEMAS:
        return lambda text: text
    pattern = _pattern(_MARKS.get(schema, ""), has_links=format_ != "text")
    return lambda text: pattern.sub(_ZERO_WIDTH_SPACE, text)


@cache
def _pattern(marks: str, *, has_links: bool) -> re.Pattern[str]:
    """Finds the places; `has_links`: links and tags are meant, and stay."""
    parts = [_MENTION] if has_links else [_MENTION, _LINK]
    if marks:
        parts.append(rf"(?<![^\W_][{marks}])(?<![/&][{marks}])(?<=[{marks}])(?=\w)")
    return re.compile("|".join(parts), re.IGNORECASE)
