"""What really went over the wire while Apprise sent a message.

Apprise answers only yes or no; its reasons are English log lines. So this watches the two doors
that nearly all plugins use: `requests.Session` (158 of the 213 plugin files) and
`smtplib.SMTP`. `install()` wraps their methods once per process. Outside a `Recording` the
wrapped methods do what they always did; inside one (a context variable of the target's own
worker thread) they also

- note each answer (status, Retry-After, the start of the body) and each failure;
- ignore proxies and `~/.netrc` from the environment, and follow no redirect;
- read at most 64 KiB of an answer for at most 5 seconds, whatever the other side drips out;
- are cut off, and start nothing new, once the sender gave up waiting.
"""

import os
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import requests
import urllib3
import urllib3.connection

from receiver.notify.exchange import Exchange, Recording

MAX_ANSWER_BYTES = 64 * 1024
MAX_ANSWER_SECONDS = 5.0


_current: ContextVar[Recording | None] = ContextVar("clarihook_recording", default=None)
_install_lock = threading.Lock()


@contextmanager
def recording(into: Recording) -> Iterator[Recording]:
    """Record what this thread sends, inside the block."""
    token = _current.set(into)
    try:
        yield into
    finally:
        _current.reset(token)


def install() -> None:
    """Wrap `requests.Session` and `smtplib.SMTP`; a second call changes nothing."""
    with _install_lock:
        _wrap(requests.Session, "request", _watch_request)
        _wrap(requests.Session, "send", _watch_send)
        _wrap(urllib3.connection.HTTPConnection, "connect", _watch_connect)
        _wrap(urllib3.connection.HTTPSConnection, "connect", _watch_connect)
        for name in ("connect", "starttls", "login", "sendmail", "data"):
            _wrap(smtplib.SMTP, name, _watch_smtp)


def _wrap(owner: type, name: str, watch: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    if getattr(original, "_clarihook", False):
        return

    @wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = _current.get()
        if current is None:
            return original(self, *args, **kwargs)
        return watch(current, original, self, *args, **kwargs)

    wrapped._clarihook = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapped)


# --- HTTP ---------------------------------------------------------------------------------------


def _watch_request(
    current: Recording,
    original: Callable[..., Any],
    session: requests.Session,
    *args: Any,
    **kwargs: Any,
) -> Any:
    if why := current.why_no_more:
        raise requests.ConnectionError(f"not sent: {why}")
    # No proxy, no ~/.netrc. Who has a private CA names it in REQUESTS_CA_BUNDLE: a trust
    # anchor changes no route, so that variable keeps its effect.
    session.trust_env = False
    if kwargs.get("verify", True) is True:
        kwargs["verify"] = os.environ.get("REQUESTS_CA_BUNDLE") or True
    try:
        return original(session, *args, **kwargs)
    except Exception as error:  # E.g. a header that can't be sent: `send` is never reached.
        current.add_failure(error, _http_failure(error))
        raise


def _watch_connect(
    current: Recording,
    original: Callable[..., Any],
    connection: urllib3.connection.HTTPConnection,
) -> Any:
    original(connection)
    if connection.sock is not None:
        current.connected(connection.sock)


def _watch_send(
    current: Recording,
    original: Callable[..., Any],
    session: requests.Session,
    request: requests.PreparedRequest,
    **kwargs: Any,
) -> Any:
    if why := current.why_no_more:
        raise requests.ConnectionError(f"not sent: {why}")
    kwargs |= {"stream": True, "allow_redirects": False, "proxies": {}}
    # As a hook, because `requests` reads the whole body of a redirect before it returns.
    request.hooks.setdefault("response", []).insert(0, _read_bounded)
    try:
        response = original(session, request, **kwargs)
    except Exception as error:
        current.add_failure(error, _http_failure(error))
        raise
    _read_bounded(response)
    current.add(
        Exchange(
            protocol="HTTP",
            status=response.status_code,
            retry_after=_asked_wait(response),
            body=response.content,
        )
    )
    return response


def _asked_wait(response: requests.Response) -> str | None:
    headers = response.headers
    if headers.get("X-RateLimit-Remaining") == "0":
        # Discord: this one went through, and the next will not.
        return headers.get("Retry-After") or headers.get("X-RateLimit-Reset-After")
    return headers.get("Retry-After")


def _read_bounded(response: requests.Response, **_kwargs: Any) -> None:
    """Read the answer's body into it, up to the limits. Its status counts even if this fails."""
    if response._content_consumed:
        return
    chunks: list[bytes] = []
    left = MAX_ANSWER_BYTES
    give_up_at = time.monotonic() + MAX_ANSWER_SECONDS
    try:
        # read1 returns what one read of the socket gave; read(n) would wait for n bytes.
        while left > 0 and (chunk := response.raw.read1(min(left, 8192), decode_content=True)):
            chunks.append(chunk)
            left -= len(chunk)
            if time.monotonic() > give_up_at:
                break
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        pass  # Cut off, badly compressed or badly chunked: what came is enough.
    finally:
        response._content = b"".join(chunks)
        response._content_consumed = True
        response.close()


def _http_failure(error: Exception) -> Exchange:
    return Exchange(
        protocol="HTTP",
        error_class=type(error).__name__,
        error=_innermost(error),
        may_have_arrived=_reached_the_server(error),
        is_hopeless=isinstance(error, ValueError),
    )


def _reached_the_server(error: Exception) -> bool:
    """Whether the request may have got there before this error.

    A connection that never stood (refused, no such host, no TLS, connect timeout) carried
    nothing. A read timeout or a connection cut later may have come after the message.
    """
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        return False
    if isinstance(error, requests.ReadTimeout):
        return True
    if not isinstance(error, requests.ConnectionError):
        return False
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return not isinstance(reason, urllib3.exceptions.NewConnectionError)


def _innermost(error: BaseException) -> str:
    """The system's own words for the cause: those of `requests` repeat the URL, tokens and all."""
    seen: set[int] = set()
    deepest: BaseException = error
    while id(deepest) not in seen:
        seen.add(id(deepest))
        inner = getattr(deepest, "reason", None) or deepest.__cause__ or deepest.__context__
        if not isinstance(inner, BaseException):
            break
        deepest = inner
    if isinstance(deepest, OSError) and deepest.strerror:
        return deepest.strerror
    if isinstance(deepest, TimeoutError):
        return "timed out"
    return type(deepest).__name__ if deepest is error else f"{type(deepest).__name__}: {deepest}"


# --- SMTP ---------------------------------------------------------------------------------------


def _watch_smtp(
    current: Recording,
    original: Callable[..., Any],
    smtp: smtplib.SMTP,
    *args: Any,
    **kwargs: Any,
) -> Any:
    step = original.__name__
    if current.is_abandoned:
        raise smtplib.SMTPServerDisconnected("not sent: the deadline had passed")
    try:
        result = original(smtp, *args, **kwargs)
    except (OSError, RuntimeError, ValueError) as error:
        current.add_failure(error, _smtp_failure(error, step))
        raise
    if step in {"connect", "starttls"} and smtp.sock is not None:  # TLS replaces the socket.
        current.connected(smtp.sock)
    if step == "sendmail":
        current.add(_smtp_accepted(result))
    return result


def _smtp_accepted(refused: dict[str, tuple[int, bytes]]) -> Exchange:
    for code, text in refused.values():
        return Exchange(protocol="SMTP", status=code, body=text)
    return Exchange(protocol="SMTP", status=250)


def _smtp_failure(error: Exception, step: str) -> Exchange:
    code, text = _smtp_reply(error)
    return Exchange(
        protocol="SMTP",
        status=code,
        body=text,
        error_class=type(error).__name__,
        error=None if code else _innermost(error),
        # `data` sends the letter and waits for its receipt: without one, nobody knows.
        may_have_arrived=code is None and step == "data",
        is_hopeless=isinstance(error, smtplib.SMTPNotSupportedError | ValueError),
    )


def _smtp_reply(error: Exception) -> tuple[int | None, bytes]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        for code, text in error.recipients.values():
            return code, text
    if isinstance(error, smtplib.SMTPResponseException):
        reply: bytes | str = error.smtp_error
        return error.smtp_code, reply if isinstance(reply, bytes) else reply.encode()
    return None, b""
