"""POST /hooks/{source}: read, verify, parse, commit, answer.

Raw ASGI, since this is the hot path: a request costs one pass over its headers, one HMAC, one
parse and its share of a commit. The answer goes out after the commit, never before.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from receiver.deadline import Deadline, DeadlineExceeded
from receiver.errors import PayloadError, SignatureError, StoreUnavailable
from receiver.model import NewEvent
from receiver.notify.rate import Pace, Rate
from receiver.payload import parse_object
from receiver.sources import Source, id_key
from receiver.store.base import Recorded, Rejection
from receiver.store.ids import new_event_id

log = structlog.get_logger("receiver.ingress")

PREFIX = "/hooks/"
MALFORMED_TYPE = "clarihook.malformed"
"""The type of a signed body that is no event, when its source keeps these."""

_KEPT_BYTES = 1024
"""Of an unproven request's body, this much is kept for debugging."""
_CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"x-auth-token"}
)
_MASKED = b"(masked)"


class Intake(Protocol):
    """Where proven events go: the store, by way of whatever plans their deliveries."""

    def accept(self, event: NewEvent, value: Mapping[str, Any]) -> Awaitable[Recorded]:
        """Commit the event with its deliveries. Raises StoreUnavailable."""

    def reject(self, rejection: Rejection) -> Awaitable[None]:
        """Keep a refused request. Raises StoreUnavailable."""


class Refusal(Exception):  # noqa: N818 - an answer, no failure of ours
    """An answer other than "accepted", in clariBI's own form of errors."""

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        *,
        detail: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        body = {"error": error, "message": message}
        if detail is not None:
            body["detail"] = detail
        self.body = json.dumps(body).encode()


class _Handshake(Refusal):
    """A proven request that sets the webhook up and is no event."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(200, "", "")
        self.body = answer


def _refuse_repeated(source: Source, pairs: list[tuple[bytes, bytes]]) -> None:
    """Refuse a header that could be read in two ways."""
    names = [name for name, _ in pairs if name in source.read_headers]
    if len(names) != len(set(names)):
        raise PayloadError("a header that says the event's type or id is there twice")


_ACCEPTED = b'{"id": "%b", "duplicate": false}'
_DUPLICATE = b'{"id": "%b", "duplicate": true}'
_CLOSE = (b"connection", b"close")

# Made anew for each request: an exception that is raised twice keeps the frames of both.


def _unknown_source() -> Refusal:
    return Refusal(404, "not_found", "No such source.")


def _not_post() -> Refusal:
    return Refusal(
        405, "method_not_allowed", "Webhooks are sent by POST.", headers=((b"allow", b"POST"),)
    )


def _unproven() -> Refusal:
    # One answer for every reason: which one it was would help a forger. The log has it.
    return Refusal(
        401, "authentication_failed", "The request has no valid signature of this source."
    )


def _too_large(max_body_bytes: int) -> Refusal:
    # The rest of the body is not read, so the connection can't be used again.
    return Refusal(
        413,
        "payload_too_large",
        f"The body is larger than {max_body_bytes} bytes.",
        headers=(_CLOSE,),
    )


def _too_slow(seconds: float) -> Refusal:
    return Refusal(
        408,
        "request_timeout",
        f"The body did not arrive within {seconds:g} seconds.",
        headers=(_CLOSE,),
    )


def _too_fast(source: Source, wait_seconds: float) -> Refusal:
    return Refusal(
        429,
        "rate_limited",
        f"More requests than source {source.name} may send.",
        headers=((b"retry-after", b"%d" % max(1, round(wait_seconds))),),
    )


def _draining() -> Refusal:
    return Refusal(
        503,
        "service_unavailable",
        "The server is stopping; send this again.",
        headers=((b"retry-after", b"5"), _CLOSE),
    )


def _unavailable(error: StoreUnavailable) -> Refusal:
    """503, and when to come back. The cause stays in the log: it may name paths."""
    return Refusal(
        503,
        "service_unavailable",
        "The event was not stored; send it again later.",
        headers=((b"retry-after", b"%d" % error.retry_after_seconds),),
    )


class Ingress:
    """The ASGI application behind `/hooks/`."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        intake: Intake,
        *,
        max_body_bytes: int,
        read_timeout_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sources = dict(sources)
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._read_timeout = read_timeout_seconds
        self._now = now
        self.is_draining = False
        """Set when the server stops: whatever still comes in is sent away with 503."""
        # A flood of bad requests costs no more than this many writes.
        self._kept_rejections = Pace(Rate(interval_seconds=1.0, burst=20))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            recorded = await self._receive(scope, receive)
        except Refusal as refusal:
            await _answer(send, refusal.status, refusal.body, refusal.headers)
            return
        if recorded is None:
            return
        if recorded.is_duplicate:
            await _answer(send, 200, _DUPLICATE % recorded.event_id.encode())
        else:
            await _answer(send, 202, _ACCEPTED % recorded.event_id.encode())

    async def _receive(self, scope: Scope, receive: Receive) -> Recorded | None:
        """What was recorded; None if the client went away before its body was complete."""
        if self.is_draining:
            raise _draining()
        source = self._sources.get(scope["path"][len(PREFIX) :])
        if source is None:
            raise _unknown_source()
        if scope["method"] != "POST":
            raise _not_post()
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        body = await self._read_body(dict(pairs), receive)
        if body is None:
            return None
        return await self._accept(source, pairs, body)

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)
        try:
            with Deadline(self._read_timeout):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body: bytes = message.get("body", b"")
                if message.get("more_body", False):
                    return await self._read_rest(body, receive)
        except DeadlineExceeded:
            raise _too_slow(self._read_timeout) from None
        if len(body) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)
        return body

    async def _read_rest(self, first: bytes, receive: Receive) -> bytes | None:
        body = bytearray(first)
        while True:
            if len(body) > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if len(body) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes)
        return bytes(body)

    async def _accept(
        self, source: Source, pairs: list[tuple[bytes, bytes]], body: bytes
    ) -> Recorded:
        now = self._now()
        try:
            verified = source.scheme.verify(pairs, body, now)
        except SignatureError as error:
            await self._unproven(source, pairs, body, error, now)
            raise _unproven() from None
        wait = source.pace.take(now)
        if wait > 0:
            raise _too_fast(source, wait)
        headers = dict(pairs)
        now_ms = int(now * 1000)
        try:
            if len(headers) != len(pairs):
                _refuse_repeated(source, pairs)
            value = parse_object(body)
            if source.handshake is not None and (echo := source.handshake(value)) is not None:
                raise _Handshake(echo)
            event_type = source.read_type(headers, value)
        except PayloadError as error:
            if not source.keeps_malformed:
                await self._malformed(source, pairs, body, error, now_ms)
            value, event_type = {}, MALFORMED_TYPE
        message_id = verified.message_id
        event = NewEvent(
            new_event_id(now_ms),
            source.name,
            event_type,
            now_ms,
            body,
            _header_text(pairs),
            message_id,
            verified.secret_index if verified.secret_index >= 0 else None,
            id_key(message_id.encode())
            if message_id is not None and source.trusts_message_id
            else source.read_key(headers, body, value),
        )
        try:
            return await self._intake.accept(event, value)
        except StoreUnavailable as error:
            log.warning("ingress.unavailable", source=source.name, error=str(error))
            raise _unavailable(error) from error

    async def _unproven(
        self,
        source: Source,
        pairs: list[tuple[bytes, bytes]],
        body: bytes,
        error: SignatureError,
        now: float,
    ) -> None:
        """Log the refusal and, while there are few, keep it; never fail because of it."""
        if self._kept_rejections.take(now) > 0:
            return
        log.warning("ingress.refused", source=source.name, status=401, reason=error.reason)
        rejection = _rejection(
            source,
            status=401,
            reason=str(error),
            pairs=pairs,
            body=body,
            now_ms=int(now * 1000),
        )
        try:
            await self._intake.reject(rejection)
        except StoreUnavailable as unavailable_error:
            log.warning("ingress.rejection_not_kept", error=str(unavailable_error))

    async def _malformed(
        self,
        source: Source,
        pairs: list[tuple[bytes, bytes]],
        body: bytes,
        error: PayloadError,
        now_ms: int,
    ) -> None:
        """Refuse a proven body that is no event, once it is kept whole: the sender may not
        send it again.
        """
        log.warning("ingress.refused", source=source.name, status=400, reason=str(error))
        try:
            await self._intake.reject(
                _rejection(
                    source,
                    status=400,
                    reason=str(error),
                    pairs=pairs,
                    body=body,
                    now_ms=now_ms,
                )
            )
        except StoreUnavailable as unavailable_error:
            raise _unavailable(unavailable_error) from unavailable_error
        raise Refusal(400, "validation_error", "The body is not an event.", detail=str(error))


async def _answer(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _rejection(
    source: Source,
    *,
    status: int,
    reason: str,
    pairs: list[tuple[bytes, bytes]],
    body: bytes,
    now_ms: int,
) -> Rejection:
    return Rejection(
        received_ms=now_ms,
        source=source.name,
        status=status,
        reason=reason,
        headers=_header_text(pairs),
        body=body if status == 400 else body[:_KEPT_BYTES],
        body_bytes=len(body),
    )


@lru_cache(maxsize=1024)
def _is_credential(name: bytes) -> bool:
    return name in _CREDENTIALS or b"secret" in name or b"password" in name


def _header_text(pairs: list[tuple[bytes, bytes]]) -> str:
    """Header lines as the store keeps them. Signatures stay: they prove, and open nothing."""
    return b"\r\n".join(
        b"%b: %b" % (name, _MASKED if _is_credential(name) else value) for name, value in pairs
    ).decode("latin-1")
