"""Runs a call to its end: credentials, attempts, waits, deadline. One code for both clients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import pydantic_core

from claribi.answers import Reply, error_of
from claribi.auth import Anonymous, Auth, AuthHeader
from claribi.body import BadAnswerError
from claribi.call import Call, query_of
from claribi.clock import Clock
from claribi.credits import CreditsLedger
from claribi.errors import (
    ApiStatusError,
    AuthenticationError,
    ClariBIError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    OutcomeUnknownError,
    RequestTimeoutError,
    TransportError,
)
from claribi.hooks import Hooks, RequestSent, ResponseReceived, RetryScheduled, SessionRenewed
from claribi.options import Options
from claribi.retry import (
    LONGEST_WAIT_SECONDS,
    Failure,
    Verdict,
    decide,
    failure_of,
    wait_before_retry,
)
from claribi.transport import IO, HttpRequest, LostError, NotSentError
from claribi.waker import Waker

T = TypeVar("T")


@dataclass(slots=True)
class Shared:
    """What all views of one client (`with_options`) have in common."""

    base_url: str
    user_agent: str
    io: IO
    clock: Clock
    hooks: Hooks
    credits: CreditsLedger
    waker: Waker | None
    jitter: Callable[[], float]
    auth: Auth = field(default_factory=Anonymous)
    """Set last: a session makes its own calls through an engine."""


class Engine:
    """Runs calls, with one set of options."""

    def __init__(self, shared: Shared, options: Options) -> None:
        self.shared = shared
        self.options = options

    async def run(self, call: Call[T]) -> T:
        """The call's result; raises a ClariBIError."""
        return await _Run(self, call).to_end()


_ANONYMOUS = Anonymous()
_AMBIGUOUS = frozenset({Failure.LOST, Failure.GATEWAY, Failure.INTERNAL})


def _json_bytes(body: Mapping[str, Any]) -> bytes:
    try:
        return pydantic_core.to_json(body)
    except ValueError as error:
        raise ConfigurationError(f"the body can't be sent as JSON: {error}") from None


class _Run(Generic[T]):
    """One call under way: counts its attempts and knows its deadline."""

    def __init__(self, engine: Engine, call: Call[T]) -> None:
        self._shared = engine.shared
        self._options = engine.options
        self._call = call
        self._info = call.info
        self._auth: Auth = engine.shared.auth if call.needs_auth else _ANONYMOUS
        self._attempt = 0
        self._failures = 0
        self._is_renewed = False
        self._may_have_happened = False
        self._started_at = engine.shared.clock.time()
        timeout = engine.options.timeout
        self._read_seconds = timeout.query_seconds if call.is_query else timeout.read_seconds
        total = timeout.total_seconds + (timeout.query_seconds if call.is_query else 0.0)
        self._ends_at = engine.shared.clock.monotonic() + total
        query = urlencode(query_of(call.params))
        self._url = engine.shared.base_url + call.path + (f"?{query}" if query else "")
        self._content = None if call.json is None else _json_bytes(call.json)

    async def to_end(self) -> T:
        while True:
            self._attempt += 1
            await self._auth.prepare()
            header = self._auth.header()
            if self._is_past_deadline(0.0):  # a login may take long; nothing is sent in vain
                raise RequestTimeoutError("not sent: its time is over", request=self._info)
            try:
                reply = await self._send(header)
            except NotSentError as error:
                text = f"could not be sent: {error}"
                await self._recover(Failure.NOT_SENT, ConnectError(text, request=self._info))
            except LostError as error:
                cls = RequestTimeoutError if error.timed_out else TransportError
                text = f"sent, but no answer: {error}"
                await self._recover(Failure.LOST, cls(text, request=self._info))
            else:
                if reply.is_success or self._is_gone(reply):
                    return self._call.read(reply, self._info)
                await self._refused(reply, header)

    async def _send(self, header: AuthHeader | None) -> Reply:
        shared, clock = self._shared, self._shared.clock
        shared.hooks.tell(RequestSent(request=self._info, attempt=self._attempt))
        began_at = clock.monotonic()
        request = self._request(header, max(0.001, self._ends_at - began_at))
        try:
            reply = await shared.io.send(request)
        except BadAnswerError as error:
            reply = error.reply  # its status says all that matters, unless it is a success
            if reply.is_success:
                raise DecodeError(str(error), request=self._info, status=reply.status) from None
        shared.hooks.tell(
            ResponseReceived(
                request=self._info,
                attempt=self._attempt,
                status=reply.status,
                seconds=clock.monotonic() - began_at,
            )
        )
        return reply

    def _request(self, header: AuthHeader | None, total_seconds: float) -> HttpRequest:
        headers = {
            "accept": "application/json",
            "accept-encoding": "gzip",
            "user-agent": self._shared.user_agent,
        }
        if self._content is not None:
            headers["content-type"] = "application/json"
        if header is not None:
            headers[header.name] = header.value
        return HttpRequest(
            method=self._call.method,
            url=self._url,
            headers=headers,
            content=self._content,
            connect_seconds=self._options.timeout.connect_seconds,
            read_seconds=self._read_seconds,
            total_seconds=total_seconds,
            max_body_bytes=self._options.max_body_bytes,
        )

    def _is_gone(self, reply: Reply) -> bool:
        # A DELETE that may have happened, and now finds nothing, has done its work.
        is_repeated = self._call.method == "DELETE" and self._may_have_happened
        return is_repeated and reply.status == 404

    async def _refused(self, reply: Reply, header: AuthHeader | None) -> None:
        error = error_of(reply, self._info, self._shared.clock.time())
        if isinstance(error, AuthenticationError) and self._may_renew(error, header):
            # A 401 proves that nothing was done: even a paid POST may be sent once more.
            self._is_renewed = True
            await self._auth.renew(header)
            self._shared.hooks.tell(SessionRenewed(request=self._info, attempt=self._attempt))
            return
        await self._recover(failure_of(error.status, error.retry_after), error)

    def _may_renew(self, error: ApiStatusError, header: AuthHeader | None) -> bool:
        return not self._is_renewed and self._auth.may_renew(error, header)

    async def _recover(self, failure: Failure, error: ClariBIError) -> None:
        """Wait for the next attempt; raises when there is none."""
        self._failures += 1
        self._may_have_happened |= failure in _AMBIGUOUS
        verdict = decide(
            self._call.kind,
            failure,
            failed_attempts=self._failures,
            retries=self._options.retries,
        )
        if verdict is Verdict.OUTCOME_UNKNOWN:
            raise self._outcome_unknown(error) from error
        retry_after = error.retry_after if isinstance(error, ApiStatusError) else None
        wait = wait_before_retry(self._failures, retry_after, self._shared.jitter())
        is_too_long = wait > LONGEST_WAIT_SECONDS
        if verdict is Verdict.FAIL or is_too_long or self._is_past_deadline(wait):
            raise error
        self._shared.hooks.tell(
            RetryScheduled(
                request=self._info, attempt=self._attempt, reason=failure.value, seconds=wait
            )
        )
        await self._shared.io.sleep(wait)

    def _is_past_deadline(self, wait: float) -> bool:
        return self._shared.clock.monotonic() + wait >= self._ends_at

    def _outcome_unknown(self, error: ClariBIError) -> OutcomeUnknownError:
        cause = error.args[0].removeprefix(f"{self._info}: ")
        return OutcomeUnknownError(
            f"it may have happened and was not sent again ({cause}); reconcile() looks it up",
            request=self._info,
            status=error.status if isinstance(error, ApiStatusError) else None,
            reconcile=self._look_up,
        )

    def _look_up(self) -> Any:
        assert self._call.reconcile is not None, "every POST that may be repeated can be looked up"
        return self._shared.io.hand_over(self._call.reconcile(self._started_at))
