"""What we rely on in Apprise, one test per row of APPRISE.md: a release that changes it fails here.

Each says what our wrap does about it. No test here uses the wrap itself.
"""

import asyncio
import json
import logging
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from apprise import Apprise, AppriseAsset, AppriseResultStatus
from apprise.attachment.memory import AttachMemory
from apprise.decorators import notify as custom_notify
from apprise.manager_plugins import NotificationManager
from notify_endpoints import Web

# Apprise loads all its plugins at the first URL, one of which imports a deprecated module.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SLACK = "slack://TAAAAAAAA/BBBBBBBBB/cccccccccccccccccccccccc"
HOSTILE = "<!channel> <http://evil.example|click> <b>x</b>"


def asset(**settings: Any) -> AppriseAsset:
    return AppriseAsset(**{"service_timeout": 0, "http_redirects": False, **settings})


def service_of(url: str, **settings: Any) -> Any:
    service = Apprise.instantiate(url, asset=asset(**settings), suppress_exceptions=False)
    assert service is not None
    return service


def apprise_of(*services: Any) -> Apprise:
    made = Apprise(asset=asset())
    for service in services:
        made.add(service)
    return made


def pieces(service: Any, body: str, body_format: str = "text", title: str = "T") -> list[str]:
    calls = service._build_send_calls(body=body, title=title, body_format=body_format)
    return [call["body"] for call in calls]


@contextmanager
def debug_log() -> Iterator[list[str]]:
    """What the `apprise` logger says at DEBUG, unfiltered."""
    lines: list[str] = []
    logger = logging.getLogger("apprise")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    level, filters = logger.level, list(logger.filters)
    logger.setLevel(logging.DEBUG)
    logger.filters.clear()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.filters.extend(filters)


def test_return_value_is_an_object_and_never_none_or_a_bool(web: Web) -> None:
    """We use only `bool()` of it, and the attempts."""
    failed = apprise_of(service_of(f"json://{web.host}/status/500")).notify(body="b")
    assert failed is not None
    assert failed is not False
    assert bool(failed) is False
    assert failed.status == AppriseResultStatus.FAILURE
    assert bool(apprise_of(service_of(f"json://{web.host}/")).notify(body="b")) is True


def test_result_has_attempts_per_service_and_each_says_whether_it_succeeded(web: Web) -> None:
    service = service_of(f"json://{web.host}/status/404")
    (per_service,) = apprise_of(service).notify(body="b")
    (attempt,) = per_service.attempts
    assert not attempt


def test_nothing_loaded_is_nomatch_with_no_result() -> None:
    """Classified as permanent: nothing was tried."""
    result = apprise_of().notify(body="b")
    assert (result.status, list(result)) == (AppriseResultStatus.NOMATCH, [])


@pytest.mark.parametrize("wrong", [{"body": ""}, {"body": "b", "notify_type": "nonsense"}])
def test_wrong_call_fails_with_no_result_and_a_reason_in_its_log(
    web: Web, wrong: dict[str, str]
) -> None:
    """Classified as permanent: it would fail the same way for ever."""
    result = apprise_of(service_of(f"json://{web.host}/")).notify(**wrong)
    assert (result.status, list(result)) == (AppriseResultStatus.FAILURE, [])
    assert list(result.logs())
    assert web.requests == []


def test_typo_in_an_argument_looks_like_a_failed_delivery_in_async_notify(web: Web) -> None:
    """One reason why we call the synchronous `notify`, where it is a TypeError."""
    service = apprise_of(service_of(f"json://{web.host}/"))
    result = asyncio.run(service.async_notify(body="b", tilte="typo"))
    assert (result.status, list(result)) == (AppriseResultStatus.FAILURE, [])
    with pytest.raises(TypeError):
        service.notify(body="b", tilte="typo")  # type: ignore[call-arg]


def test_bad_url_raises_only_when_asked_to() -> None:
    """We ask, to tell a malformed URL from an unknown service."""
    assert Apprise.instantiate("slack://short") is None
    with pytest.raises(Exception, match="invalid Slack"):
        Apprise.instantiate("slack://short", suppress_exceptions=False)
    assert Apprise.instantiate("slak://x", suppress_exceptions=False) is None


def test_optional_turns_a_failure_into_a_success(web: Web) -> None:
    """We read the attempts, and switch `optional` off."""
    service = service_of(f"json://{web.host}/status/500?optional=yes")
    result = apprise_of(service).notify(body="b")
    assert bool(result)
    assert not any(next(iter(result)).attempts)
    service.optional = False
    assert not apprise_of(service).notify(body="b")


def test_sync_notify_without_a_deadline_runs_in_the_callers_thread(web: Web) -> None:
    """Or our thread per target would be for nothing, and 6 hanging targets would stop all."""
    service = service_of(f"json://{web.host}/")
    threads: list[str] = []
    original = service.send
    service.send = lambda **kw: threads.append(threading.current_thread().name) or original(**kw)
    caller = threading.Thread(
        target=lambda: apprise_of(service).notify(body="b"), name="caller-of-notify"
    )
    caller.start()
    caller.join()
    assert threads == ["caller-of-notify"]


def test_socket_timeouts_are_attributes_that_we_may_set(web: Web) -> None:
    service = service_of(f"json://{web.host}/hang")
    assert (service.socket_connect_timeout, service.socket_read_timeout) == (4.0, 4.0)
    service.socket_read_timeout = 0.05
    assert service.request_timeout == (4.0, 0.05)
    assert not apprise_of(service).notify(body="b"), "a timeout is a plain FAILURE"
    assert service_of("mailto://u:p@example.com").socket_connect_timeout == 15


def test_length_counts_recipients_times_tries() -> None:
    """How we see a URL with several recipients."""
    assert len(service_of(SLACK)) == 1
    assert len(service_of(f"{SLACK}/#a/#b")) == 2
    assert len(service_of(f"{SLACK}/#a/#b?retry=2")) == 6
    assert len(service_of("mailto://u:p@example.com?to=a@x.com,b@x.com")) == 2
    assert len(service_of("mailto://u:p@example.com?to=a@x.com&cc=b@x.com")) == 1, "so we look"


def test_retry_of_the_url_can_be_taken_back(web: Web) -> None:
    service = service_of(f"json://{web.host}/status/500?retry=2&wait=0")
    service.retry = 0
    apprise_of(service).notify(body="b")
    assert len(web.requests) == 1


def test_rate_limit_sleeps_in_the_thread_and_can_be_set_to_zero(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(f"ntfy://{web.host}/topic")
    assert service.request_rate_per_sec == 5.5
    naps: list[float] = []
    monkeypatch.setattr("apprise.url.time.sleep", naps.append)
    for _ in range(2):
        apprise_of(service).notify(body="b")
    assert len(naps) == 1
    service.request_rate_per_sec = 0
    for _ in range(3):
        apprise_of(service).notify(body="b")
    assert len(naps) == 1


def test_split_is_unbounded_and_can_be_counted_beforehand(web: Web) -> None:
    """We count with the very method that splits, and cut until there are three."""
    service = service_of("discord://123456789012345678/abcdefghijklmnop?overflow=split")
    assert len(pieces(service, "words and words " * 12_500)) > 100
    service = service_of(f"mmost://{web.host}/{'t' * 24}?overflow=split")
    expected = pieces(service, "words and words " * 600)
    apprise_of(service).notify(body="words and words " * 600, title="T", body_format="text")
    assert [json.loads(request.body)["text"] for request in web.requests] == expected


def test_each_piece_goes_through_one_method_with_its_index(web: Web) -> None:
    """The hook by which we stop at the first piece that failed; Apprise itself does not stop."""
    service = service_of(f"mmost://{web.host}/status/500/{'t' * 24}?overflow=split")
    seen: list[int] = []
    original = service._timed_send
    service._timed_send = lambda **piece: seen.append(piece["index"]) or original(**piece)
    apprise_of(service).notify(body="words and words " * 600, body_format="text")
    assert seen == list(range(len(web.requests)))
    assert len(seen) == 3


def test_overflow_default_leaves_any_length_as_it_is() -> None:
    service = service_of("mailto://u:p@example.com")
    assert service.overflow_mode == "upstream"
    (whole,) = pieces(service, "x" * 70_000)
    assert len(whole) == 70_000


def test_text_is_escaped_for_html_and_markdown_services_and_raw_for_text_services() -> None:
    """The last is why `content.prepare` takes markup apart itself."""
    (slack,) = pieces(service_of(SLACK), HOSTILE)
    assert slack == HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    (teams,) = pieces(service_of("workflows://host.example.com/wid/sig/"), HOSTILE)
    assert "<\\!channel" in teams
    (discord,) = pieces(service_of("discord://123456789012345678/abcdefghijklmnop"), HOSTILE)
    assert discord == HOSTILE


def test_markdown_and_no_format_let_mentions_and_scripts_through() -> None:
    """Why payload text is always sent as `text`."""
    (slack,) = pieces(service_of(SLACK), "<!channel>", "markdown")
    assert slack == "<!channel>"
    mail = service_of("mailto://u:p@example.com?format=html")
    (html,) = pieces(mail, "<script>x</script>", "markdown")
    assert "<script>" in html


def test_redirects_are_followed_unless_the_asset_or_we_say_no(web: Web) -> None:
    default = Apprise.instantiate(f"json://{web.host}/redirect/307", asset=AppriseAsset())
    assert default is not None
    assert bool(apprise_of(default).notify(body="b"))
    assert web.requests[-1].path == "/landed"
    assert service_of("json://localhost/").redirects is False
    assert service_of("json://localhost/?redirect=yes").redirects is True, "so we set it again"


def test_masked_url_is_not_masked() -> None:
    """Why we never use `url(privacy=True)`, nor the result's `url`."""
    service = service_of("json://localhost/plantedpath/?+Authorization=Bearer%20plantedhead")
    masked = service.url(privacy=True)
    assert "plantedpath" in masked
    assert "plantedhead" in masked


def test_debug_log_has_the_whole_url_and_payload(web: Web) -> None:
    """Why the logger is held at WARNING and filtered."""
    with debug_log() as lines:
        apprise_of(service_of(f"json://{web.host}/plantedpath")).notify(body="planted body")
    assert "plantedpath" in "".join(lines)
    assert "planted body" in "".join(lines)


@pytest.mark.parametrize(("disabled", "level"), [(True, "WARNING"), (False, "CRITICAL")])
def test_reasons_vanish_with_the_loggers_settings(web: Web, disabled: bool, level: str) -> None:
    """Why `keep_apprise_logger` is called before each send."""
    logger = logging.getLogger("apprise")
    before = logger.disabled, logger.level
    logger.disabled = disabled
    logger.setLevel(level)
    try:
        result = apprise_of(service_of(f"json://{web.host}/status/500")).notify(body="b")
        assert list(result.logs()) == []
    finally:
        logger.disabled = before[0]
        logger.setLevel(before[1])


def test_url_id_does_not_tell_recipients_apart() -> None:
    """Why our target names are our own."""
    ids = {service_of(f"{SLACK}/#{channel}").url_id() for channel in ("alpha", "beta")}
    assert len(ids) == 1


def test_memory_storage_has_no_path() -> None:
    made = asset(storage_mode="memory")
    assert made.storage_path is None
    assert made.storage_mode == "memory"


def test_memory_attachments_are_sent_without_any_file(web: Web) -> None:
    chart = AttachMemory(content=b"PNG!", name="chart.png", mimetype="image/png")
    apprise_of(service_of(f"json://{web.host}/")).notify(body="b", attach=[chart])
    (attached,) = json.loads(web.requests[0].body)["attachments"]
    assert (attached["filename"], attached["base64"]) == ("chart.png", "UE5HIQ==")
    assert service_of("gotify://localhost/ttttttttttttttt").attachment_support is False


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_async_decorated_function_is_never_awaited_and_counts_as_success() -> None:
    """Why only native plugins are accepted as targets."""

    @custom_notify(on="clarihookcontract")
    async def refuse(*_args: Any, **_kwargs: Any) -> bool:
        return False

    try:
        service = service_of("clarihookcontract://x")
        assert service.category != "native"
        assert bool(apprise_of(service).notify(body="b"))
    finally:
        manager: Any = NotificationManager
        manager().remove("clarihookcontract")
    assert service_of(SLACK).category == "native"


def test_requests_and_smtplib_have_the_doors_that_are_watched(web: Web) -> None:
    doors: list[str] = []

    class Spy(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            doors.append("request")
            return super().request(*args, **kwargs)

        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            doors.append("send")
            return super().send(request, **kwargs)

    with Spy() as session:
        session.post(f"http://{web.host}/", allow_redirects=False)
    assert doors == ["request", "send"]
    for name in ("connect", "starttls", "login", "sendmail", "data"):
        assert callable(getattr(smtplib.SMTP, name))
