"""Forms: small, and read whole before anything is done with them."""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM_BYTES: Final = 8_192
FORM_SECONDS: Final = 10.0


class FormTooLarge(Exception):
    """It has more bytes than any form of ours."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form, each one's first value. Read once, then kept.

    Raises FormTooLarge, or HTTPException 408 for one that does not arrive.
    """
    kept: dict[str, str] | None = getattr(request.state, "form", None)
    if kept is not None:
        return kept
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    raise FormTooLarge
    except TimeoutError:
        raise HTTPException(408, "The form did not arrive. Nothing was changed.") from None
    form: dict[str, str] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        form.setdefault(name, value)
    request.state.form = form
    return form
