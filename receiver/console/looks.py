"""How pages look: templates of ours, everything from outside escaped."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from receiver.acknowledge_link import without_tokens
from receiver.console.gate import FORM_FIELD, Visitor
from receiver.model import Role, format_delivery_id
from receiver.printable import printable


class Looks:
    """Renders the console's templates."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("receiver.console", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            moment=_moment,
            span=_span,
            delivery_id=format_delivery_id,
            without_tokens=without_tokens,
        )

    def page(
        self, name: str, visitor: Visitor, status: HTTPStatus = HTTPStatus.OK, **values: Any
    ) -> Response:
        """A page for that visitor."""
        known: Mapping[str, Any] = {
            "visitor": visitor.token,
            "may_act": visitor.may(Role.OPERATOR),
            "form_field": FORM_FIELD,
            "form_token": visitor.form_token,
        }
        text = self._templates.get_template(f"{name}.html").render({**known, **values})
        return HTMLResponse(text, status)

    def said(
        self, status: HTTPStatus, title: str, text: str, visitor: Visitor | None = None
    ) -> Response:
        """A page that says one thing."""
        return self.page("said", visitor or Visitor(), status, heading=title, text=text)


def _visible(value: Any) -> Any:
    """What a page shows of a value: no text turns the rest of its line around."""
    if type(value) is str:  # not Markup, which is ours
        return "\n".join(printable(line) for line in value.split("\n"))
    return value


def _moment(moment: datetime | None) -> str:
    """`2026-11-26 18:31:29 UTC`."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(milliseconds: float) -> str:
    """`12 ms`, `3.4 s`."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
