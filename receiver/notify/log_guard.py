"""What Apprise and the HTTP libraries log: always masked, never silenced."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from receiver.observe import IN_A_RESULT


class RedactingFilter(logging.Filter):
    """Masks log records in place, before any handler sees them.

    Put on each logger by name: a filter on a parent is not asked for its children's records.
    """

    def __init__(self) -> None:
        super().__init__()
        self._redactors: tuple[Callable[[str], str], ...] = ()

    def add(self, redact: Callable[[str], str]) -> None:
        if redact not in self._redactors:
            self._redactors = (*self._redactors, redact)

    def remove(self, redact: Callable[[str], str]) -> None:
        self._redactors = tuple(kept for kept in self._redactors if kept is not redact)

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_silent.get():
            return False
        if _is_captured.get() and record.name == _APPRISE:
            setattr(record, IN_A_RESULT, True)
        record.msg, record.args = self._mask(record.getMessage()), ()
        if record.exc_info:
            # A traceback's last line repeats the exception's text, URL and all.
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info, record.exc_text = None, self._mask(text)
        return True

    def _mask(self, text: str) -> str:
        for redact in self._redactors:
            text = redact(text)
        return text


_APPRISE = "apprise"
_is_silent: ContextVar[bool] = ContextVar("clarihook_apprise_is_silent", default=False)
_is_captured: ContextVar[bool] = ContextVar("clarihook_apprise_is_captured", default=False)
_log_filter = RedactingFilter()
_CHATTY_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "requests",
    "requests_oauthlib.oauth1_session",
    "requests_oauthlib.oauth2_session",
)
"""They print request paths at DEBUG: Slack's and Discord's tokens are in the path."""


def guard_logs(redact: Callable[[str], str]) -> None:
    """Mask what Apprise and the HTTP libraries log from now on, until `unguard_logs`."""
    _log_filter.add(redact)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).addFilter(_log_filter)
    keep_apprise_logger()


def unguard_logs(redact: Callable[[str], str]) -> None:
    """Forget the secrets of a notifier that is closed."""
    _log_filter.remove(redact)


@contextmanager
def silence() -> Iterator[None]:
    """Drop what Apprise logs in this thread: while it parses a URL, it quotes the bad parts."""
    keep_apprise_logger()
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


@contextmanager
def captured() -> Iterator[None]:
    """What Apprise logs in this thread becomes part of a result, which is told: not by itself."""
    token = _is_captured.set(True)
    try:
        yield
    finally:
        _is_captured.reset(token)


def keep_apprise_logger() -> None:
    """Force the `apprise` logger to WARNING, enabled and filtered; called before every send.

    Apprise tells why a send failed only through this logger, so a level of ERROR or a plain
    `dictConfig` (which disables existing loggers) would erase the cause; below WARNING it
    prints whole token URLs and payloads.
    """
    logger = logging.getLogger(_APPRISE)
    logger.disabled = False
    logger.setLevel(logging.WARNING)
    logger.addFilter(_log_filter)
