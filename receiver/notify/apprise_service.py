"""Opening an Apprise URL: one service for one recipient, with Apprise's own retries, pauses,
redirects and storage switched off. Blocking (the first call imports Apprise, a quarter of a
second): never call it on the event loop.
"""

import difflib
import re
import threading
import warnings
from typing import Any
from urllib.parse import unquote

from receiver.errors import ConfigError
from receiver.notify.log_guard import silence
from receiver.notify.redact import MASK, Redactor

_SOCKET_SHARE = 0.7
"""Of the channel's timeout, for one read of a socket: a target that hangs is then noticed by its
own read timeout, which frees the worker, and not by the deadline, which can't."""

_loading = threading.Lock()


def open_service(url: str, *, where: str, timeout_seconds: float) -> Any:
    """The Apprise service of `url`, ready to send.

    Raises ConfigError, which names `where` (the channel and position) and never the URL: its
    scheme is unknown, it is malformed, or it has more than one recipient.
    """
    apprise = load_apprise()
    asset = apprise.AppriseAsset(
        app_id="clarihook",
        app_desc="clarihook notifications",
        # Or every chat client would fetch Apprise's icons from GitHub.
        image_url_mask="",
        image_url_logo="",
        service_timeout=0,
        http_redirects=False,
        storage_mode="memory",
        async_mode=False,
        default_service_retry=0,
        allow_templates=False,
    )
    try:
        with silence():
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except Exception as error:
        raise ConfigError(
            f"{where}: not a valid {_scheme(url)}:// URL: {_without_parts_of(url, str(error))} "
            "(docs/channels.md)"
        ) from None
    if service is None:
        raise ConfigError(f"{where}: {_why_unusable(url)}")
    if service.category != "native":
        # `@notify` functions answer success whatever an `async def` among them returns.
        raise ConfigError(f"{where}: {_scheme(url)}:// is a custom Apprise plugin; write a handler")
    _require_one_recipient(service, where)
    _take_over(service, timeout_seconds)
    return service


def load_apprise() -> Any:
    """The `apprise` module with all its plugins, loaded once."""
    # Or another thread would find a table of plugins that is still being filled.
    with _loading:
        # Its PGP support imports it; an error under -W error would look like a bad URL.
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        import apprise  # noqa: PLC0415 - slow
        import apprise.manager_plugins  # noqa: PLC0415

        manager: Any = apprise.manager_plugins.NotificationManager
        manager().load_modules()
    return apprise


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _without_parts_of(url: str, text: str) -> str:
    """A plugin's complaint without what it quotes of the URL: each word that is in the URL, too."""
    known = f"{url} {unquote(url)}".lower()

    def mask(word: re.Match[str]) -> str:
        is_part = word[0].lower() in known and word[0].lower() != _scheme(url)
        return MASK if is_part else word[0]

    text = Redactor(urls=[url])(text)
    return re.sub(r"[^\s()\[\]{}<>'\",:;=]{3,}", mask, text)


def _why_unusable(url: str) -> str:
    manager = load_apprise().manager_plugins.NotificationManager()
    scheme, known = _scheme(url), sorted([*manager.schemas(), "file"])
    if scheme in known or scheme in {"http", "https"}:
        return (
            f"this {scheme}:// URL lacks a part, or is of no service that Apprise knows; "
            "check its parts against docs/channels.md"
        )
    near = difflib.get_close_matches(scheme, known, 1)
    hint = f"; did you mean {near[0]}://?" if near else ""
    return f'unknown service "{scheme}://"{hint}'


def _require_one_recipient(service: Any, where: str) -> None:
    """One delivery is one recipient: with two, the one that got it would get it again."""
    copies = [*(getattr(service, "cc", None) or ()), *(getattr(service, "bcc", None) or ())]
    recipients = len(service) // (service.retry + 1) + len(copies)
    if recipients != 1:
        raise ConfigError(
            f"{where}: this URL has {recipients} recipients; write one URL per recipient, "
            "so that each is retried alone"
        )


def _take_over(service: Any, timeout_seconds: float) -> None:
    service.retry = 0
    service.request_rate_per_sec = 0
    service.redirects = False
    # With `optional=yes` Apprise would call a failed send a success.
    service.optional = False
    limit = timeout_seconds * _SOCKET_SHARE
    service.socket_connect_timeout = min(service.socket_connect_timeout, limit)
    if service.socket_read_timeout == type(service).socket_read_timeout:
        # Apprise's own 4 seconds: the channel's timeout is the one that was meant.
        service.socket_read_timeout = limit
    service.socket_read_timeout = min(service.socket_read_timeout, limit)
    if service.overflow_mode == "upstream":
        # Upstream sends any length, whatever the service takes.
        service.overflow_mode = type(service.overflow_mode)("split")
    # No sleep in the thread, of its own or because the service asked for it: we wait without one.
    service.throttle = lambda *_args, **_kwargs: None
    if hasattr(service, "markdown_ver") and service._format_override is None:
        # Markdown becomes HTML for Telegram. In its own Markdown nothing can be escaped inside
        # bold or italic, and for one star or underscore too many it refuses the whole message.
        service._format_override = service._formats()[0]
    if hasattr(service, "_register"):
        # Matrix's plugin would make an account where its log-in failed.
        service._register = lambda: False
    if hasattr(type(service), "__del__"):
        _end_quietly(service)
    _stop_at_first_failure(service)


def _end_quietly(service: Any) -> None:
    """Take away the log-out that some do when Python collects them: a request, and in any thread,
    the event loop's too.
    """
    kind = type(service)
    service.__class__ = type(kind.__name__, (kind,), {"__del__": lambda _service: None})


def _stop_at_first_failure(service: Any) -> None:
    """Send no later piece of a long message once one failed.

    Apprise sends them all regardless; the retry would then repeat those that arrived. The hook
    is the method that Apprise calls once per piece; test_notify_apprise_contract.py pins it.
    """
    send_piece = service._timed_send
    has_failed = False

    def send_next(**piece: Any) -> bool:
        nonlocal has_failed
        if piece["index"] == 0:
            has_failed = False
        has_failed = has_failed or not send_piece(**piece)
        return not has_failed

    service._timed_send = send_next
