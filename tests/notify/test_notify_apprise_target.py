"""One attempt over real HTTP: every kind of answer and failure gets its outcome and its cause."""

import asyncio
import io
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from notify_endpoints import MakeTarget, Web, say, send

from receiver.model import Attachment, Outcome, Severity
from receiver.observe import configure_logging


def test_accepted_message_is_delivered_with_its_status(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"json://{web.host}/in/"), say("Body", "Title"))

    assert (result.outcome, result.status_code, result.error) == (Outcome.DELIVERED, 200, None)
    assert len(web.requests) == 1
    sent = json.loads(web.requests[0].body)
    assert (sent["title"], sent["message"], sent["type"]) == ("Title", "Body", "warning")


@pytest.mark.parametrize(
    ("severity", "kind"),
    [
        (Severity.INFO, "info"),
        (Severity.SUCCESS, "success"),
        (Severity.WARNING, "warning"),
        (Severity.CRITICAL, "failure"),
    ],
)
def test_severity_becomes_apprises_word(
    web: Web, make_target: MakeTarget, severity: Severity, kind: str
) -> None:
    send(make_target(f"json://{web.host}/in/"), say(severity=severity))
    assert json.loads(web.requests[0].body)["type"] == kind


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_refusal_is_permanent(web: Web, make_target: MakeTarget, status: int) -> None:
    result = send(make_target(f"json://{web.host}/status/{status}"))
    assert (result.outcome, result.status_code) == (Outcome.PERMANENT, status)
    assert result.error_class == "HTTPStatus"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_is_transient(web: Web, make_target: MakeTarget, status: int) -> None:
    result = send(make_target(f"json://{web.host}/status/{status}"))
    assert (result.outcome, result.status_code) == (Outcome.TRANSIENT, status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("option", ["", "?redirect=yes"])
def test_redirect_is_permanent_and_not_followed(
    web: Web, make_target: MakeTarget, status: int, option: str
) -> None:
    result = send(make_target(f"json://{web.host}/redirect/{status}{option}"))
    assert (result.outcome, result.status_code) == (Outcome.PERMANENT, status)
    assert [request.path for request in web.requests] == [f"/redirect/{status}"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("1000000000", 3600.0), ("0", 0.0), ("soon", None), ("-5", None), ("", None)],
)
def test_retry_after_is_captured_and_capped(
    web: Web, make_target: MakeTarget, header: str, seconds: float | None
) -> None:
    web.answer_headers = {"Retry-After": header}
    result = send(make_target(f"json://{web.host}/status/429"))
    assert (result.status_code, result.retry_after_seconds) == (429, seconds)


def test_retry_after_as_a_date_is_captured(web: Web, make_target: MakeTarget) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=30)
    web.answer_headers = {"Retry-After": format_datetime(moment, usegmt=True)}
    result = send(make_target(f"json://{web.host}/status/503"))
    assert result.retry_after_seconds is not None
    assert 1000 < result.retry_after_seconds <= 1800


def test_error_shows_what_the_target_said_on_one_short_line(
    web: Web, make_target: MakeTarget
) -> None:
    web.answer_body = b'{"error": "invalid_payload"}\r\n\x1b[31mred\xe2\x80\xa8line' + b"x" * 9000
    result = send(make_target(f"json://{web.host}/status/400"))
    assert result.error is not None
    assert result.error.startswith("ops/1-test: answered 400 Bad Request. It said: ")
    assert "invalid_payload" in result.error
    assert not any(mark in result.error for mark in "\r\n\x1b\u2028")
    assert len(result.error.encode()) <= 2048


def test_refused_connection_is_transient(make_target: MakeTarget, free_port: int) -> None:
    result = send(make_target(f"json://127.0.0.1:{free_port}/"))
    assert (result.outcome, result.status_code) == (Outcome.TRANSIENT, None)
    assert result.error_class == "ConnectionError"
    assert result.error == "ops/1-test: not reached (Connection refused)"


def test_unknown_host_is_transient(make_target: MakeTarget) -> None:
    result = send(make_target("json://no-such-host.invalid/"))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "ConnectionError")


def test_plain_server_at_a_tls_url_is_transient(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"jsons://{web.host}/"))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "SSLError")


def test_connection_cut_after_the_request_is_unknown(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"json://{web.host}/reset"))
    assert result.outcome is Outcome.UNKNOWN
    assert result.error_class == "ConnectionError"


def test_read_timeout_is_unknown(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"json://{web.host}/hang", timeout=0.5))
    assert (result.outcome, result.error_class) == (Outcome.UNKNOWN, "ReadTimeout")


def test_accepted_with_a_dripping_body_is_still_delivered(
    web: Web, make_target: MakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.notify.wire.MAX_ANSWER_SECONDS", 0.1)
    result = send(make_target(f"json://{web.host}/drip"))
    assert (result.outcome, result.status_code) == (Outcome.DELIVERED, 200)


@pytest.mark.parametrize(("path", "status"), [("huge", 500), ("bomb", 502)])
def test_endless_answer_is_not_read_to_its_end(
    web: Web, make_target: MakeTarget, path: str, status: int
) -> None:
    result = send(make_target(f"json://{web.host}/{path}"))
    assert (result.outcome, result.status_code) == (Outcome.TRANSIENT, status)


def test_body_that_can_not_be_decoded_does_not_undo_the_status(
    web: Web, make_target: MakeTarget
) -> None:
    assert send(make_target(f"json://{web.host}/badgzip")).outcome is Outcome.DELIVERED


def test_header_that_can_not_be_sent_is_permanent(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"json://{web.host}/?+X-Evil=a%0d%0aSet-Cookie:%20b"))
    assert (result.outcome, result.error_class) == (Outcome.PERMANENT, "InvalidHeader")
    assert web.requests == []


def test_apprises_own_retries_and_optional_are_off(web: Web, make_target: MakeTarget) -> None:
    result = send(make_target(f"json://{web.host}/status/500?retry=3&wait=0&optional=yes"))
    assert result.outcome is Outcome.TRANSIENT
    assert len(web.requests) == 1


def test_environment_proxies_and_netrc_are_ignored(
    web: Web,
    make_target: MakeTarget,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: int,
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(netrc))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port}")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert send(make_target(f"json://{web.host}/")).outcome is Outcome.DELIVERED
    assert "Authorization" not in web.requests[0].headers


def test_long_message_is_cut_to_three_pieces_with_a_notice(
    web: Web, make_target: MakeTarget
) -> None:
    """Mattermost takes 4,000 characters a message; Apprise alone would send 50."""
    send(make_target(f"mmost://{web.host}/{'t' * 24}"), say("words and words " * 12_500))
    texts = [json.loads(request.body)["text"] for request in web.requests]
    assert len(texts) == 3
    assert all(len(text) <= 4000 for text in texts)
    assert texts[-1].endswith("… (cut: the whole text is in clarihook)")


def test_failure_after_a_piece_went_through_is_unknown(web: Web, make_target: MakeTarget) -> None:
    """The retry will repeat the first piece; the third is not sent for nothing."""
    web.statuses = [200, 503]
    target = make_target(f"mmost://{web.host}/next/{'t' * 24}")
    result = send(target, say("words and words " * 700))
    assert (result.outcome, result.status_code) == (Outcome.UNKNOWN, 503)
    assert len(web.requests) == 2
    assert send(target, say("short")).outcome is Outcome.DELIVERED


def test_attachment_travels_as_bytes(web: Web, make_target: MakeTarget) -> None:
    chart = Attachment(name="../../etc/chart.png", content_type="image/png", content=b"PNG!")
    send(make_target(f"json://{web.host}/in"), say(attachments=(chart,)))
    (attached,) = json.loads(web.requests[0].body)["attachments"]
    assert attached == {"filename": "chart.png", "base64": "UE5HIQ==", "mimetype": "image/png"}


def test_attachment_is_left_out_where_the_service_takes_none(
    web: Web, make_target: MakeTarget
) -> None:
    chart = Attachment(name="chart.png", content_type="image/png", content=b"PNG!")
    result = send(make_target(f"gotify://{web.host}/{'t' * 15}"), say(attachments=(chart,)))
    assert result.outcome is Outcome.DELIVERED


@pytest.mark.parametrize(("title", "body"), [("Title", ""), ("", "Body"), ("", ""), (" ", " \n")])
def test_empty_title_or_body_is_sent(
    web: Web, make_target: MakeTarget, title: str, body: str
) -> None:
    result = send(make_target(f"json://{web.host}/in"), say(body, title))
    assert result.outcome is Outcome.DELIVERED


def test_bad_url_found_while_sending_is_permanent(make_target: MakeTarget) -> None:
    result = send(make_target("slak://planted-secret/x"))
    assert (result.outcome, result.error_class) == (Outcome.PERMANENT, "ConfigError")
    assert result.error == (
        'channels.ops, URL 1: unknown service "slak://"; did you mean slack://?'
    )


def test_retry_after_holds_for_every_message_to_the_target(
    web: Web, make_target: MakeTarget
) -> None:
    async def run() -> None:
        web.answer_headers = {"Retry-After": "120"}
        target = make_target(f"json://{web.host}/status/429")
        await target.send(say())
        assert 100 < target.pace.take(time.monotonic()) <= 120

    asyncio.run(run())
    assert len(web.requests) == 1


def test_message_names_us_and_loads_no_picture_from_elsewhere(
    web: Web, make_target: MakeTarget
) -> None:
    send(make_target(f"mmost://{web.host}/{'t' * 24}"))
    (request,) = web.requests
    assert request.headers["User-Agent"] == "clarihook"
    assert json.loads(request.body)["username"] == "clarihook"
    assert b"github" not in request.body


@pytest.mark.parametrize("schema", ["json", "form", "xml", "mmost"])
def test_any_text_can_be_sent(web: Web, make_target: MakeTarget, schema: str) -> None:
    target = make_target(f"{schema}://{web.host}/{'t' * 24}")
    text = "\ud800 \0 \U0001f600 \u0130 é \x85 ]]> & <a> %s {0} ${X} \\N{BULLET}"
    assert send(target, say(text, text)).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("disabled", "level"), [(True, logging.WARNING), (False, logging.CRITICAL)]
)
def test_cause_is_told_whatever_the_logging_is_set_to(
    make_target: MakeTarget, disabled: bool, level: int
) -> None:
    """`dictConfig` disables loggers; Apprise tells this cause by its logger only."""
    logger = logging.getLogger("apprise")
    logger.disabled = disabled
    logger.setLevel(level)
    result = send(make_target(f"slack://TAAAAAAAA/BBBBBBBBB/{'c' * 24}/somebody@example.com"))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "NotAccepted")
    assert "Emails can not be resolved to Slack User IDs" in (result.error or "")


def test_an_exception_in_a_plugin_is_an_attempt_with_its_traceback(
    web: Web, make_target: MakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody foresaw it, so whoever mends it needs more than a line; the secret is in neither."""
    secret = "plantedsecret0123456789"

    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError(f"a bug, with {secret}") from KeyError(secret)

    monkeypatch.setattr("apprise.Apprise.notify", fail)
    result = send(make_target(f"json://user:{secret}@{web.host}/in/"))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "RuntimeError")
    assert result.error == "ops/1-test: a bug, with ***"
    assert result.traceback is not None
    assert "KeyError: '***'" in result.traceback
    assert "RuntimeError: a bug, with ***" in result.traceback
    assert secret not in result.traceback


def test_what_a_result_tells_is_no_line_of_its_own(web: Web, make_target: MakeTarget) -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    configure_logging(stream=stream)
    try:
        result = asyncio.run(make_target(f"json://{web.host}/status/401").send(say()))
        assert result.status_code == 401
        assert stream.getvalue() == ""
        logging.getLogger("apprise").warning("of no send")
        assert "of no send" in stream.getvalue()
    finally:
        logging.getLogger().handlers[:] = before
