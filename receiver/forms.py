"""What people send from a page: a small form, and the words in it."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from receiver.printable import printable

MAX_FORM_BYTES: Final = 8_192


class FormTooLarge(Exception):
    """It has more bytes than any form of ours."""


async def read_form(request: Request, *, max_bytes: int = MAX_FORM_BYTES) -> dict[str, str]:
    """The fields of a posted form, each one's first value. Raises FormTooLarge."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise FormTooLarge
    form: dict[str, str] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace")):
        form.setdefault(name, value)
    return form


def words_in(form: dict[str, str], name: str, *, max_chars: int) -> str:
    """A field as one line, fit to be shown and kept; "" without it.

    >>> words_in({"name": " Ann\\t of\\x1b ops "}, "name", max_chars=80)
    'Ann\\\\t of\\\\x1b ops'
    """
    return " ".join(printable(form.get(name, "")).split())[:max_chars]
