"""The console's forms: each is read once, and within a time."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from receiver import forms

FORM_SECONDS: Final = 10.0


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form. Read once, then kept: the gate looks at it, and the page.

    Raises FormTooLarge, or HTTPException 408 for one that does not arrive.
    """
    kept: dict[str, str] | None = getattr(request.state, "form", None)
    if kept is None:
        try:
            async with asyncio.timeout(FORM_SECONDS):
                kept = await forms.read_form(request)
        except TimeoutError:
            raise HTTPException(408, "The form did not arrive. Nothing was changed.") from None
        request.state.form = kept
    return kept
