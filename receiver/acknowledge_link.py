"""The link in a message that acknowledges its event, for whoever has the message.

It leads to a page with a button (`receiver.acknowledge_page`): link previews and mail scanners
follow links, and must not acknowledge by that.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from markupsafe import Markup

from receiver.acknowledge_token import make_token
from receiver.model import Event, Message, MessageFormat

PATH: Final = "/acknowledge/"
VALID_SECONDS: Final = 14 * 86_400

_TOKEN: Final = re.compile(PATH + r"[A-Za-z0-9_-]+", re.ASCII)
_LONG_CHARS = 1_500
"""A body of more may be cut by its service: then the link stands before it."""


@dataclass(kw_only=True)
class AcknowledgeLinks:
    """Makes the links of a deployment."""

    key: bytes | None = None
    """The store's; None until that is open."""
    is_dry: bool = False
    """Whether the links only show where they would stand: they acknowledge nothing."""

    def add(self, message: Message, event: Event, public_url: str | None, now_ms: int) -> Message:
        """The message with a link in each of its bodies; as it is where links lead nowhere."""
        if public_url is None:
            return message
        if self.is_dry:
            token = "…"  # noqa: S105 - it opens nothing
        elif self.key is not None:
            token = make_token(self.key, event.id, end_seconds=now_ms // 1000 + VALID_SECONDS)
        else:
            return message
        url = public_url.rstrip("/") + PATH + token
        return replace(
            message,
            body=_with_link(message.body, message.format, url),
            bodies={each: _with_link(body, each, url) for each, body in message.bodies.items()},
        )


def without_tokens(text: str) -> str:
    """The text, for those who are not to act by its links.

    >>> without_tokens("I take care of it: https://hooks.example.com/acknowledge/AaIZ_g-9.")
    'I take care of it: https://hooks.example.com/acknowledge/….'
    """
    return _TOKEN.sub(PATH + "…", text)


def _with_link(body: str, format_: MessageFormat, url: str) -> str:
    if format_ == "html":
        line = str(Markup('<p><a href="{}">I take care of it</a></p>').format(url))
        head, end, tail = body.rpartition("</body>")
        return f"{head}{line}{end}{tail}" if end else body + line
    line = f"[I take care of it]({url})" if format_ == "markdown" else f"I take care of it: {url}"
    parts = (line, body) if len(body) > _LONG_CHARS else (body, line)
    return "\n\n".join(part for part in parts if part)
