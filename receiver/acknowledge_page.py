"""The page behind a message's link: it says what has happened, and has a button to take care of it.

The address is the proof: whoever has the message may. Looking acknowledges nothing, so that link
previews and mail scanners don't; there is no script, and nothing is loaded from anywhere.
"""

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from receiver.acknowledge_token import ExpiredToken, ForgedToken, read_token
from receiver.errors import StoreError, StoreUnavailable
from receiver.forms import FormTooLarge, read_form, words_in
from receiver.model import Acknowledgement, Event, EventId
from receiver.store.base import Acknowledged, Store

log = structlog.get_logger("receiver.acknowledge")

MAX_FORM_BYTES: Final = 4_096
MAX_NAME_CHARS: Final = 80
NOBODY: Final = "somebody with the link"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; }
dt { color: #666; font-size: .85rem; } dd { margin: 0 0 .6rem; overflow-wrap: anywhere; }
input, button { font: inherit; padding: .5rem .8rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
""")
_FACTS = Markup("""<dl>
<dt>Event</dt><dd>{type}</dd>
<dt>Received</dt><dd>{received}</dd>
<dt>Id</dt><dd>{id}</dd>
</dl>
""")
_FORM = Markup("""<form method="post">
<p><label>Your name <input name="name" maxlength="80" autocomplete="name"></label></p>
<p><button>I take care of it</button></p>
</form>
<p>Then nobody else is told that it waits.</p>
""")


class AcknowledgePage:
    """Answers `GET` and `POST /acknowledge/{token}`."""

    def __init__(self, store: Store, key: Callable[[], bytes | None]) -> None:
        self._store = store
        self._key = key

    async def answer(self, request: Request) -> Response:
        """The page; 404 for a link that was never made, 410 for one whose time is over."""
        try:
            event = await self._event_of(request.path_params["token"])
            if event is None:
                return _said(HTTPStatus.NOT_FOUND, "This link leads nowhere",
                             "It may have been cut off on its way: copy all of it.")  # fmt: skip
            answer = self._acknowledge if request.method == "POST" else self._show
            return await answer(request, event)
        except ExpiredToken:
            return _said(HTTPStatus.GONE, "This link is too old",
                         "Acknowledge the event by command: clarihook acknowledge ID.")  # fmt: skip
        except StoreUnavailable as error:
            return _said(HTTPStatus.SERVICE_UNAVAILABLE, "Not now",
                         f"{error}. Nothing was changed; try again in a moment.")  # fmt: skip
        except StoreError:
            log.exception("acknowledge.failed")
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "That did not work",
                         "Nothing was changed; the server's log has the details.")  # fmt: skip

    async def _show(self, _request: Request, event: Event) -> Response:
        first = await self._store.acknowledgement(event.id)
        if first is not None:
            return _page(HTTPStatus.OK, "It is taken care of", _facts(event) + _who(first))
        return _page(HTTPStatus.OK, "Do you take care of it?", _facts(event) + _FORM)

    async def _event_of(self, token: str) -> Event | None:
        """The event that the link is for; None if there is none. Raises ExpiredToken."""
        key = self._key()
        if key is None:
            return None
        try:
            event_id: EventId = read_token(key, token, now_seconds=time.time())
        except ForgedToken:
            return None
        return await self._store.event(event_id)

    async def _acknowledge(self, request: Request, event: Event) -> Response:
        try:
            form = await read_form(request, max_bytes=MAX_FORM_BYTES)
        except FormTooLarge:
            return _said(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That name is too long", "Give a short one."
            )
        name = words_in(form, "name", max_chars=MAX_NAME_CHARS)
        new = Acknowledgement(
            event_id=event.id, at=datetime.now(UTC), author=name or NOBODY, how="link"
        )
        kept = await keep(self._store, new)
        if kept is None:
            return _said(HTTPStatus.NOT_FOUND, "This event is no more", "It was too old.")
        title = "You take care of it" if kept.is_new else "Somebody was faster"
        return _page(HTTPStatus.OK, title, _facts(event) + _who(kept.first))


async def keep(store: Store, new: Acknowledgement) -> Acknowledged | None:
    """Keep and log who takes care of an event; None if retention was faster. See
    `Store.acknowledge`.
    """
    kept = await store.acknowledge(new)
    if kept is not None:
        log.info("event.acknowledged", event_id=new.event_id, author=kept.first.author,
                 is_new=kept.is_new, cancelled=len(kept.cancelled))  # fmt: skip
    return kept


def _facts(event: Event) -> Markup:
    received = f"{event.received_at:%Y-%m-%d %H:%M:%S} UTC"
    return _FACTS.format(type=event.type, received=received, id=event.id)


def _who(first: Acknowledgement) -> Markup:
    return Markup("<p>{} has said so at {}.</p>").format(
        first.author, f"{first.at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _said(status: HTTPStatus, title: str, text: str) -> Response:
    return _page(status, title, Markup("<p>{}</p>").format(text))


def _page(status: HTTPStatus, title: str, content: Markup) -> Response:
    headers = dict(_HEADERS)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "5"
    page = _PAGE.format(title=title, style=Markup(_STYLE), content=content)  # noqa: S704 - ours
    return HTMLResponse(page, status, headers)
