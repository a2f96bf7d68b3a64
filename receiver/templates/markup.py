"""What a value becomes in a message's format: data, whatever is in it.

A value from an event must look like what it is and do nothing: be no link, no mention, no tag and
no heading. HTML has one way to say so. Markdown has a backslash, which CommonMark and its
relatives know, and for what chat programs make live without any markup (`@all`, `http://…`) there
is the zero-width space.
"""

import re
from typing import Any

from markupsafe import Markup
from markupsafe import escape as escape_html

from receiver.model import MessageFormat
from receiver.templates.filters import shown

MAX_CODE_CHARS = 3_000
"""Of a block of code; a stack trace of more is no help in a chat."""

# Lone surrogates too: no encoding can hold them, so no service could be sent them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_ZERO_WIDTH_SPACE = "\u200b"
_SPECIAL = re.compile(
    r"[\\`*\[\]<>~|]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # between letters it is an underscore: data_source_id
    r"|&(?=#?\w{1,32};)"
)
_LINE_START = re.compile(r"^([#+=-]|\d{1,9}(?=[.)]))")
_LIVE_WITHOUT_MARKUP = re.compile(
    r"(?<!\w)@(?=\w)|(?<=\w):(?=//)|\bwww(?=\.)|\b(?:javascript|data|mailto|tel):", re.IGNORECASE
)
_WEB = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_NOT_IN_URL = re.compile(r"[^!#$%&+,\-./0-9:;=?@A-Z_a-z]")
_SPACE = re.compile(r"\s+")


def drop_controls(text: str) -> str:
    """The text with one kind of line end, and without what steers a terminal or turns text round.

    >>> drop_controls("a\\r\\nb\\x1b[31m\\u202ec")
    'a\\nb[31mc'
    """
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class MarkdownText(Markup):
    """Text that is Markdown already. What is added to it is escaped for Markdown, not for HTML."""

    __slots__ = ()

    @classmethod
    def escape(cls, s: Any, /) -> "MarkdownText":
        """The value as Markdown that shows it and does nothing."""
        return escape_markdown(s)


def escape_markdown(value: Any) -> MarkdownText:
    r"""The value as one line of Markdown that shows it and does nothing.

    >>> print(escape_markdown("a*b [x](y) # 1\n2"), escape_markdown("# no heading"))
    a\*b \[x\](y) # 1 2 \# no heading
    """
    if hasattr(value, "__html__"):
        return MarkdownText(value)
    text = _SPACE.sub(" ", str(value)).strip()
    text = _SPECIAL.sub(r"\\\g<0>", text)
    text = _LINE_START.sub(_escape_start, text)
    return MarkdownText(_LIVE_WITHOUT_MARKUP.sub(rf"\g<0>{_ZERO_WIDTH_SPACE}", text))


def _escape_start(start: re.Match[str]) -> str:
    return f"{start[0]}\\" if start[0].isdigit() else f"\\{start[0]}"


def web_url(value: Any) -> str | None:
    """The value as an address that can stand in any markup; None if it is no http(s) address.

    >>> web_url("https://example.com/a b"), web_url("javascript:alert(1)")
    ('https://example.com/a%20b', None)
    """
    text = str(value).strip() if isinstance(value, str) else ""
    if not _WEB.match(text) or len(text) > 2_000:
        return None
    return _NOT_IN_URL.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), text)


def link(format_: MessageFormat, text: Any, address: Any) -> Any:
    """A link that a template writes; only its text where the address is no http(s) address."""
    url = web_url(address)
    match format_:
        case "html":
            said = escape_html(_plain(text))
            return said if url is None else Markup('<a href="{}">{}</a>').format(url, said)
        case "markdown":
            said = escape_markdown(_plain(text))
            return said if url is None else MarkdownText(f"[{said}]({url})")
        case "text":
            return _plain(text) if url is None else f"{_plain(text)}: {url}"


def code(format_: MessageFormat, value: Any) -> Any:
    """A value in the type of code, on one line."""
    text = _SPACE.sub(" ", _plain(value)).strip()[:MAX_CODE_CHARS]
    match format_:
        case "html":
            return Markup("<code>{}</code>").format(text)
        case "markdown":
            return MarkdownText(f"`{_in_code(text)}`") if text else MarkdownText("")
        case "text":
            return text


def block(format_: MessageFormat, value: Any) -> Any:
    """A value of several lines, as it is: a stack trace, a table."""
    text = _plain(value).strip("\n")
    if len(text) > MAX_CODE_CHARS:
        text = text[:MAX_CODE_CHARS] + "\n…"
    match format_:
        case "html":
            return Markup("<pre>{}</pre>").format(text)
        case "markdown":
            return MarkdownText(f"```\n{_in_code(text)}\n```")
        case "text":
            return text


def _plain(value: Any) -> str:
    return drop_controls(shown(value))


def _in_code(text: str) -> str:
    # No backslash works in code: what could end it is replaced by what looks like it.
    return _LIVE_WITHOUT_MARKUP.sub(rf"\g<0>{_ZERO_WIDTH_SPACE}", text.replace("`", "\u02cb"))
