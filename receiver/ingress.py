"""POST /hooks/{source}: read, verify, parse, commit, answer.

Raw ASGI, since this is the hot path: a request costs one pass over its headers, one HMAC, one
parse and its share of a commit. The answer goes out after the commit, never before.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NoReturn, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from receiver import refusals
from receiver.deadline import Deadline, DeadlineExceeded
from receiver.errors import PayloadError, SignatureError, StoreError, StoreUnavailable
from receiver.model import NewEvent
from receiver.payload import parse_object
from receiver.rate import Pace, Rate
from receiver.refusals import Refusal
from receiver.signatures import Verified
from receiver.sources import Source, id_key
from receiver.store.base import Recorded, Rejection
from receiver.store.ids import new_event_id

log = structlog.get_logger("receiver.ingress")

PREFIX = "/hooks/"
MALFORMED_TYPE = "clarihook.malformed"
"""The type of a signed body that is no event, when its source keeps these."""

_LINGER_SECONDS = 2.0
"""How long the rest of a body is read and thrown away before its connection is closed."""
_CREDENTIAL = re.compile(rb"authorization|cookie|token|api-?key|secret|password|credential")
"""Names of headers whose values would let somebody in. Names come in lower case."""
_MASKED = b"(masked)"


BodyAtOnce = Callable[[Receive, int], bytes | None]
"""`(receive, max_bytes)`: a server's faster way to a body that has come; None if it has none."""

AnswerAtOnce = Callable[[Send, int, bytes, Sequence[tuple[bytes, bytes]]], bool]
"""`(send, status, body, headers)`: a server's faster way to answer; False if it has none."""


class Intake(Protocol):
    """Where proven events go: the store, by way of whatever plans their deliveries."""

    def accept(self, event: NewEvent, value: Mapping[str, Any] | None) -> Awaitable[Recorded]:
        """Commit the event with its deliveries; `value` is its body's object.

        None for a body that is none: such an event has no deliveries. Raises StoreError.
        """

    def reject(self, rejection: Rejection) -> Awaitable[None]:
        """Keep a refused request. Raises StoreError."""


class Handshake(Refusal):
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


class _Refusals:
    """What a source was refused: a flood costs few lines in the log, and few writes."""

    __slots__ = ("pace", "untold")

    def __init__(self, rate: Rate) -> None:
        self.pace = Pace(rate)
        self.untold = 0
        """How many came since the last one that was logged and kept."""


def _new_refusals() -> _Refusals:
    return _Refusals(Rate(1, 1, burst=20))


class Ingress:
    """The ASGI application behind `/hooks/`."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        intake: Intake,
        *,
        max_body_bytes: int,
        read_timeout_seconds: float,
        kept_body_bytes: int | None,
        now: Callable[[], float] = time.time,
        body_at_once: BodyAtOnce = lambda *_: None,
        answer_at_once: AnswerAtOnce = lambda *_: False,
    ) -> None:
        self._sources = dict(sources)
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._read_timeout = read_timeout_seconds
        self._kept_body_bytes = kept_body_bytes
        """Of a refused request's body, this much is kept; None if no refused request is."""
        self._now = now
        self._body_at_once = body_at_once
        self._answer_at_once = answer_at_once
        self.is_draining = False
        """Set when the server stops: whatever still comes in is sent away with 503."""
        self._refusals = {name: _new_refusals() for name in sources}
        self._outages = _Refusals(Rate(1, 10, burst=3))

    def adopt(
        self,
        sources: Mapping[str, Source],
        *,
        max_body_bytes: int,
        kept_body_bytes: int | None,
    ) -> None:
        """Receive by these from the next request on; see the constructor."""
        self._sources = dict(sources)
        self._max_body_bytes = max_body_bytes
        self._kept_body_bytes = kept_body_bytes
        for name in sources:
            # Those of a source that is no more stay: a request of it may be under way.
            self._refusals.setdefault(name, _new_refusals())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            recorded = await self._receive(scope, receive)
        except Refusal as refusal:
            await _refuse(send, refusal, receive if refusal.closes else None)
            return
        except asyncio.CancelledError:
            if not self.is_draining:
                raise
            # The stop can wait no longer. Stored or not, this may be sent again: it would be
            # recognised.
            await _refuse(send, refusals.draining())
            return
        except MemoryError:
            error = StoreUnavailable("memory is exhausted")
            await _refuse(send, self._unavailable(scope["path"][len(PREFIX) :], error))
            return
        except Exception:
            log.exception("ingress.bug")
            await _refuse(send, refusals.our_fault())
            return
        if recorded is None:
            return
        if recorded.is_duplicate:
            await self._answer(send, 200, _DUPLICATE % recorded.event_id.encode())
        else:
            await self._answer(send, 202, _ACCEPTED % recorded.event_id.encode())

    async def _answer(self, send: Send, status: int, body: bytes) -> None:
        headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
        if not self._answer_at_once(send, status, body, headers):
            await _answer(send, status, body)

    async def _receive(self, scope: Scope, receive: Receive) -> Recorded | None:
        """What was recorded; None if the client went away before its body was complete."""
        if self.is_draining:
            raise refusals.draining()
        source = self._sources.get(scope["path"][len(PREFIX) :])
        if source is None:
            raise refusals.unknown_source()
        if scope["method"] != "POST":
            raise refusals.not_post()
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        body = self._body_at_once(receive, self._max_body_bytes)
        if body is None:
            try:
                body = await self._read_body(dict(pairs), receive)
            except Refusal as refusal:
                await self._refused(
                    source, pairs, b"", status=refusal.status, reason=str(refusal), now=self._now()
                )
                raise
        if body is None:
            return None
        return await self._accept(source, pairs, body)

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            raise refusals.too_large(self._max_body_bytes)
        try:
            with Deadline(self._read_timeout):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body: bytes = message.get("body", b"")
                if message.get("more_body", False):
                    return await self._read_rest(body, receive)
        except DeadlineExceeded:
            raise refusals.too_slow(self._read_timeout) from None
        if len(body) > self._max_body_bytes:
            raise refusals.too_large(self._max_body_bytes)
        return body

    async def _read_rest(self, first: bytes, receive: Receive) -> bytes | None:
        body = bytearray(first)
        while True:
            if len(body) > self._max_body_bytes:
                raise refusals.too_large(self._max_body_bytes)
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if len(body) > self._max_body_bytes:
            raise refusals.too_large(self._max_body_bytes)
        return bytes(body)

    async def _accept(
        self, source: Source, pairs: list[tuple[bytes, bytes]], body: bytes
    ) -> Recorded:
        now = self._now()
        try:
            verified = source.scheme.verify(pairs, body, now)
        except SignatureError as error:
            await self._refused(source, pairs, body, status=401, reason=str(error), now=now)
            raise refusals.unproven() from None
        wait = source.pace.take(time.monotonic())  # the wall clock may be put back
        if wait > 0:
            reason = "more requests than the source's rate"
            await self._refused(source, pairs, body, status=429, reason=reason, now=now)
            raise refusals.too_fast(source.name, wait)
        now_ms = int(now * 1000)
        try:
            event, value = read_event(source, pairs, body, verified, now_ms)
        except PayloadError as error:
            await self._malformed(source, pairs, body, _explain(error, dict(pairs)), now_ms)
        try:
            return await self._intake.accept(event, value)
        except StoreError as error:
            raise self._unavailable(source.name, error) from error

    def _unavailable(self, source: str, error: StoreError) -> Refusal:
        """503; a store that is out costs few lines in the log, however many ask."""
        told = self._outages
        if told.pace.take(time.monotonic()) > 0:
            told.untold += 1
        else:
            log.warning(
                "ingress.unavailable",
                source=source,
                error=str(error),
                and_others=told.untold,
            )
            told.untold = 0
        return refusals.unavailable(error)

    async def _refused(
        self,
        source: Source,
        pairs: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        status: int,
        reason: str,
        now: float,
    ) -> None:
        """Log a refusal and, while there are few, keep it; never fail because of it."""
        told = self._refusals[source.name]
        if told.pace.take(time.monotonic()) > 0:
            told.untold += 1
            return
        log.warning(
            "ingress.refused",
            source=source.name,
            status=status,
            reason=reason.partition(":")[0],
            and_others=told.untold,
        )
        told.untold = 0
        rejection = _rejection(
            source, status=status, reason=reason, pairs=pairs, body=body, now_ms=int(now * 1000)
        )
        try:
            await self._keep(rejection)
        except StoreError as store_error:
            log.warning("ingress.rejection_not_kept", source=source.name, error=str(store_error))

    async def _keep(self, rejection: Rejection) -> None:
        most = self._kept_body_bytes
        if most is None:
            return
        if rejection.status != 400:
            rejection = replace(rejection, body=rejection.body[:most])
        await self._intake.reject(rejection)

    async def _malformed(
        self,
        source: Source,
        pairs: list[tuple[bytes, bytes]],
        body: bytes,
        reason: str,
        now_ms: int,
    ) -> NoReturn:
        """Refuse a proven body that is no event, once it is kept whole: the sender may not
        send it again.
        """
        log.warning("ingress.refused", source=source.name, status=400, reason=reason)
        try:
            await self._keep(
                _rejection(source, status=400, reason=reason, pairs=pairs, body=body, now_ms=now_ms)
            )
        except StoreError as error:
            raise self._unavailable(source.name, error) from error
        raise Refusal(400, "validation_error", "The body is not an event.", detail=reason)


def read_event(
    source: Source,
    pairs: list[tuple[bytes, bytes]],
    body: bytes,
    verified: Verified,
    now_ms: int,
) -> tuple[NewEvent, dict[str, Any] | None]:
    """The event that a proven request is, and its body's object; None for one that is kept
    although it is no event.

    Raises PayloadError for a body that is no event, `Handshake` for a request that only sets the
    webhook up.
    """
    headers = dict(pairs)
    value: dict[str, Any] | None
    try:
        if len(headers) != len(pairs):
            _refuse_repeated(source, pairs)
        value = parse_object(body)
        if source.handshake is not None and (echo := source.handshake(value)) is not None:
            raise Handshake(echo)
        event_type = source.read_type(headers, value)
    except PayloadError:
        if not source.keeps_malformed:
            raise
        value, event_type = None, MALFORMED_TYPE
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
        else source.read_key(headers, body, value or {}),
    )
    return event, value


async def _refuse(send: Send, refusal: Refusal, receive: Receive | None = None) -> None:
    if receive is None:
        await _answer(send, refusal.status, refusal.body, refusal.headers)
        return
    # To close with unread data resets the connection, and the client may never see the answer.
    await _answer(send, refusal.status, refusal.body, refusal.headers, is_last=False)
    try:
        with Deadline(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except (DeadlineExceeded, asyncio.CancelledError):
        pass  # either way this request is over
    await send({"type": "http.response.body"})


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    is_last: bool = True,
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
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def _explain(error: PayloadError, headers: Mapping[bytes, bytes]) -> str:
    encoding = headers.get(b"content-encoding", b"").decode("latin-1")
    if encoding in ("", "identity"):
        return str(error)
    return f"{error}; send it as it is, without Content-Encoding: {encoding[:40]}"


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
        body=body,
        body_bytes=len(body) or _declared_bytes(pairs),
    )


def _declared_bytes(pairs: list[tuple[bytes, bytes]]) -> int:
    """How long the sender says that a body is which was not read; 0 if it does not."""
    length = dict(pairs).get(b"content-length", b"")
    return int(length[:18]) if length.isdigit() else 0


@lru_cache(maxsize=256)
def _is_credential(name: bytes) -> bool:
    return _CREDENTIAL.search(name) is not None


def _header_text(pairs: list[tuple[bytes, bytes]]) -> str:
    """Header lines as the store keeps them. Signatures stay: they prove, and open nothing."""
    return b"\r\n".join(
        b"%b: %b" % (name, _MASKED if _is_credential(name) else value) for name, value in pairs
    ).decode("latin-1")
