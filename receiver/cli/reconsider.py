"""A refused request, looked at once more with the settings of today."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from receiver.errors import PayloadError, SignatureError
from receiver.ingress import Handshake, Intake, read_event
from receiver.model import EventId, parse_headers
from receiver.sources import Source
from receiver.store.base import Rejection

MASKED = "(masked)"


class Refused(Exception):
    """It can't be accepted now either; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The event that it is."""

    event_id: EventId | None
    """None if it was only tried."""
    is_duplicate: bool = False
    """The same message had come before: nothing was added."""


async def reconsider(
    rejection: Rejection, sources: Mapping[str, Source], intake: Intake | None
) -> Accepted:
    """Accept a refused request as ingress would if it came now; only try it without `intake`.

    Its signature's time is judged by when the request came, all else by the settings of today.
    Raises Refused if it still does not verify, or not all of it was kept; StoreError.
    """
    source = sources.get(rejection.source)
    if source is None:
        raise Refused(f"the settings have no source {rejection.source!r} any more")
    if len(rejection.body) < rejection.body_bytes:
        raise Refused(
            f"only {len(rejection.body)} of its {rejection.body_bytes} bytes were kept; for later "
            "ones set rejections.max_body_bytes, and have the sender send this one again"
        )
    headers = parse_headers(rejection.headers)
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    try:
        verified = source.scheme.verify(pairs, rejection.body, rejection.received_ms / 1000)
        event, value = read_event(source, pairs, rejection.body, verified, int(time.time() * 1000))
    except SignatureError as error:
        raise Refused(f"still not proven: {error}{_hint(rejection, headers)}") from None
    except PayloadError as error:
        raise Refused(f"signed, but still no event: {error}") from None
    except Handshake:
        raise Refused("it only sets the webhook up; it is no event") from None
    if intake is None:
        return Accepted(event_id=None)
    recorded = await intake.accept(event, value)
    return Accepted(event_id=recorded.event_id, is_duplicate=recorded.is_duplicate)


def _hint(rejection: Rejection, headers: tuple[tuple[str, str], ...]) -> str:
    masked = [name for name, value in headers if value == MASKED]
    if masked:
        return f" (not kept, since they may be credentials: {', '.join(masked)})"
    return f"; see `clarihook signature check {rejection.id}`"
