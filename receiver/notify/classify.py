"""How a send ended, decided from what was seen of it. Pure.

| seen | outcome |
| --- | --- |
| Apprise says sent | delivered |
| a 2xx that says `"ok": false` (Slack's API), for a reason that may pass | transient |
| the same, for any other reason | permanent |
| 408, 425, 429, 5xx; refused, no such host, TLS, connect timeout; SMTP 4xx | transient |
| any other 3xx or 4xx; SMTP 5xx; a request that can't be made; no service | permanent |
| read timeout, connection cut after sending; a piece of it went through | unknown |
| no trace at all: `error=NNN` in Apprise's log counts as a status; else | transient |
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from receiver.model import Outcome
from receiver.notify.exchange import Exchange
from receiver.notify.target import DELIVERED, SendResult

MAX_RETRY_AFTER_SECONDS = 3600.0
TRANSIENT_STATUSES = frozenset({408, 425, 429})
PASSING_ERRORS = frozenset(
    {
        "fatal_error",
        "internal_error",
        "message_limit_exceeded",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
        None,
    }
)
"""What Slack's API says, with a 200, of trouble that passes; all else that it refuses it refuses
again (https://docs.slack.dev/reference/methods/chat.postMessage)."""
_SECONDS = re.compile(r"[0-9]{1,400}(?:\.[0-9]{1,400})?", re.ASCII)
_LOGGED_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_EXCERPT_BYTES = 1024

REMEDIES = {
    401: "the credentials in its URL are wrong or were revoked",
    403: "the credentials in its URL may not do this",
    404: "the URL names something that does not exist (any more)",
    410: "the URL was switched off at the other side: make a new one",
    413: "the message is too large for it",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one call of Apprise gave."""

    is_sent: bool
    """Apprise's word: its one service took the message."""
    was_tried: bool
    """There was a service, and it was called. Not so after a wrong call, or with no service."""
    exchanges: Sequence[Exchange] = ()
    logs: Sequence[str] = ()


def classify(report: Report, now: datetime) -> SendResult:
    """The report as a result. `error` is not masked yet: the caller must."""
    if report.is_sent:
        return replace(
            DELIVERED,
            status_code=_http_status(report.exchanges),
            retry_after_seconds=_rest(report.exchanges, now),
        )
    if not report.was_tried:
        return SendResult(
            outcome=Outcome.PERMANENT,
            error_class="NotTried",
            error=_with_logs("Apprise did not try to send it", report.logs),
        )
    failed = next((seen for seen in reversed(report.exchanges) if not _is_good(seen)), None)
    if failed is None:
        result = _without_trace(report, now)
    elif failed.status is not None:
        result = _from_status(failed, now)
    else:
        result = _from_failure(failed)
    if result.outcome is Outcome.TRANSIENT and failed and any(map(_is_good, report.exchanges)):
        # An earlier request of the same send got through: trying again may repeat it.
        return replace(result, outcome=Outcome.UNKNOWN)
    return result


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds to wait, 0 to 3600, from a number or an HTTP date; None for anything else.

    RFC 9110, 10.2.3. Fractions are no part of it, but Discord sends them.
    """
    value = (text or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _asked_wait(seen: Exchange, now: datetime) -> float | None:
    """What it asked for by its header, or as Discord, Telegram and Matrix say it in the answer."""
    if (seconds := parse_retry_after(seen.retry_after, now)) is not None:
        return seconds
    said = _said(seen)
    parameters = said.get("parameters")
    telegrams = parameters.get("retry_after") if isinstance(parameters, dict) else None
    for value, unit in (
        (said.get("retry_after"), 1),
        (telegrams, 1),
        (said.get("retry_after_ms"), 1000),
    ):
        if isinstance(value, int | float) and value >= 0:
            return min(value, MAX_RETRY_AFTER_SECONDS * unit) / unit
    return None


def _said(seen: Exchange) -> dict[str, Any]:
    """The answer, if it is a JSON object."""
    try:
        value = from_json(seen.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _rest(exchanges: Sequence[Exchange], now: datetime) -> float | None:
    """How long a service that took the message lets nothing more through."""
    return parse_retry_after(exchanges[-1].retry_after, now) if exchanges else None


def _is_good(exchange: Exchange) -> bool:
    return exchange.status is not None and 200 <= exchange.status < 300


def _http_status(exchanges: Sequence[Exchange]) -> int | None:
    return next((seen.status for seen in reversed(exchanges) if seen.protocol == "HTTP"), None)


def _from_status(seen: Exchange, now: datetime) -> SendResult:
    status = seen.status
    assert status is not None, "only an answered exchange has a status to judge"
    if seen.protocol == "SMTP":
        return SendResult(
            outcome=Outcome.TRANSIENT if 400 <= status < 500 else Outcome.PERMANENT,
            error_class=seen.error_class or "SMTPReply",
            error=_with_excerpt(f"the mail server answered {status}", seen.body),
        )
    is_transient = status in TRANSIENT_STATUSES or status >= 500
    return SendResult(
        outcome=Outcome.TRANSIENT if is_transient else Outcome.PERMANENT,
        status_code=status,
        retry_after_seconds=_asked_wait(seen, now) if is_transient else None,
        error_class="HTTPStatus",
        error=_with_excerpt(f"answered {_status_text(status)}", seen.body),
    )


def _from_failure(seen: Exchange) -> SendResult:
    if seen.is_hopeless:
        outcome, what = Outcome.PERMANENT, "the request can't be made"
    elif seen.may_have_arrived:
        outcome, what = Outcome.UNKNOWN, "no answer came: it may have arrived"
    else:
        outcome, what = Outcome.TRANSIENT, "not reached"
    return SendResult(outcome=outcome, error_class=seen.error_class, error=f"{what} ({seen.error})")


def _without_trace(report: Report, now: datetime) -> SendResult:
    """No failed exchange: another protocol, or a 2xx whose body the plugin did not like."""
    for line in reversed(report.logs):
        if match := _LOGGED_STATUS.search(line):
            seen = Exchange(protocol="HTTP", status=int(match[1]))
            if not _is_good(seen):
                return _from_status(seen, now)
    last = report.exchanges[-1] if report.exchanges else None
    said = {} if last is None else _said(last)
    is_refused = said.get("ok") is False and said.get("error") not in PASSING_ERRORS
    return SendResult(
        outcome=Outcome.PERMANENT if is_refused else Outcome.TRANSIENT,
        status_code=_http_status(report.exchanges),
        error_class="NotAccepted",
        error=_with_excerpt(
            _with_logs("the service did not take it", report.logs), last.body if last else b""
        ),
    )


def _status_text(status: int) -> str:
    try:
        text = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        text = str(status)
    if 300 <= status < 400:
        return f"{text}: redirects are not followed, put the final address into its URL"
    return f"{text}: {remedy}" if (remedy := REMEDIES.get(status)) else text


def _with_excerpt(text: str, body: bytes) -> str:
    excerpt = body[:_EXCERPT_BYTES].decode("utf-8", "replace").strip()
    return f"{text}. It said: {excerpt}" if excerpt else text


def _with_logs(text: str, logs: Sequence[str]) -> str:
    return f"{text}: {' / '.join(logs)}" if logs else text
