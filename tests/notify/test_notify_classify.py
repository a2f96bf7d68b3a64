"""Classification is a pure function: the table, and Retry-After for any text."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.model import Outcome
from receiver.notify.classify import Report, classify, parse_retry_after
from receiver.notify.exchange import Exchange

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def judge(*exchanges: Exchange, logs: tuple[str, ...] = ()) -> Outcome:
    report = Report(is_sent=False, was_tried=True, exchanges=exchanges, logs=logs)
    return classify(report, NOW).outcome


def http(status: int) -> Exchange:
    return Exchange(protocol="HTTP", status=status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_pass_are_transient(status: int) -> None:
    assert judge(http(status)) is Outcome.TRANSIENT


@pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 401, 403, 404, 410, 413, 418, 451])
def test_other_refusals_are_permanent(status: int) -> None:
    assert judge(http(status)) is Outcome.PERMANENT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (421, Outcome.TRANSIENT),
        (450, Outcome.TRANSIENT),
        (454, Outcome.TRANSIENT),
        (535, Outcome.PERMANENT),
        (550, Outcome.PERMANENT),
        (554, Outcome.PERMANENT),
    ],
)
def test_mail_codes_mean_the_opposite_of_http_codes(status: int, outcome: Outcome) -> None:
    assert judge(Exchange(protocol="SMTP", status=status)) is outcome


def test_the_last_failure_decides() -> None:
    assert judge(http(500), http(404)) is Outcome.PERMANENT


def test_transient_after_something_went_through_is_unknown() -> None:
    assert judge(http(200), http(503)) is Outcome.UNKNOWN
    assert judge(http(200), http(404)) is Outcome.PERMANENT


def test_status_in_the_log_counts_where_nothing_was_seen() -> None:
    assert judge(logs=("Failed to send X notification: error=401.",)) is Outcome.PERMANENT
    assert judge(logs=("Failed to send X notification: error=503.",)) is Outcome.TRANSIENT
    assert judge(logs=("error=200.", "error=99999")) is Outcome.TRANSIENT


def test_failure_without_any_trace_is_transient() -> None:
    assert judge() is Outcome.TRANSIENT


def test_accepted_request_whose_answer_the_plugin_refused_is_transient() -> None:
    result = classify(
        Report(
            is_sent=False,
            was_tried=True,
            exchanges=(Exchange(protocol="HTTP", status=200, body=b'{"ok":false}'),),
        ),
        NOW,
    )
    assert (result.outcome, result.status_code) == (Outcome.TRANSIENT, 200)
    assert '{"ok":false}' in (result.error or "")


def test_nothing_tried_is_permanent() -> None:
    report = Report(is_sent=False, was_tried=False, logs=("An invalid notification type",))
    result = classify(report, NOW)
    assert (result.outcome, result.error_class) == (Outcome.PERMANENT, "NotTried")
    assert "An invalid notification type" in (result.error or "")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 413, 307])
def test_a_refusal_says_what_to_look_at(status: int) -> None:
    report = Report(is_sent=False, was_tried=True, exchanges=(http(status),))
    assert ": " in (classify(report, NOW).error or "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("1000000000", 3600.0),
        ("9" * 400, 3600.0),
        ("-1", None),
        ("1e3", None),
        ("٣", None),
        ("0x10", None),
        ("NaN", None),
        ("soon", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=2), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 3600.0),
        ("Sun, 01 Mar 2026 17:01:30 +0500", 90.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Sun, 99 Foo 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(text=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} [\d:]{1,9}.*"))
def test_any_retry_after_gives_seconds_or_nothing(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= 3600
