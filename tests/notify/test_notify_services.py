"""Each service as it really is: its form, its limits, and what its refusals become here."""

import asyncio
import ssl
from pathlib import Path

import pytest
from notify_endpoints import MakeTarget, say, send
from service_forms import FORMS, Form, Refusal, Services, texts_of
from service_server import Reply, ServiceServer, reply_text

from receiver.model import Attachment, Outcome

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
EACH_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
REFUSALS = [
    pytest.param(form, refusal, id=f"{form.name}: {what}")
    for form in FORMS.values()
    for what, refusal in form.refusals.items()
]


def url_of(form: Form, server: ServiceServer) -> str:
    return form.url.format(address=server.address)


def broken(server: ServiceServer) -> list[tuple[object, Reply]]:
    judge = server.judge
    assert isinstance(judge, Services)
    return [*judge.broken]


@EACH_FORM
def test_service_takes_the_message_and_shows_its_text(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    result = send(make_target(url_of(form, services)), say("The nightly sync", "Sync of CRM"))
    assert (result.outcome, result.error) == (Outcome.DELIVERED, None)
    assert broken(services) == []
    (message,) = [asked for asked in services.asked if form.is_message(asked)]
    shown = " ".join(each.text for each in form.shown(message))
    assert "The nightly sync" in shown
    assert "Sync of CRM" in shown


@EACH_FORM
@pytest.mark.parametrize("letter", ["w", "é", "🎉", "&"])
def test_long_text_is_three_messages_of_which_the_service_takes_each(
    services: ServiceServer, form: Form, make_target: MakeTarget, letter: str
) -> None:
    """Letters of one, two and four bytes, and one that becomes five characters."""
    text = f"{letter * 7} {letter * 11} " * 2000
    result = send(make_target(url_of(form, services)), say(text, letter * 250))
    assert (result.outcome, result.error) == (Outcome.DELIVERED, None)
    assert broken(services) == []
    messages = [asked for asked in services.asked if form.is_message(asked)]
    assert 1 <= len(messages) <= 3
    last = "".join(each.text for each in form.shown(messages[-1]))
    assert "cut: the whole text is in clarihook" in last.replace("\\", "")


@EACH_FORM
def test_a_picture_goes_along_where_the_service_takes_any(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    chart = Attachment(name="chart.png", content_type="image/png", content=PICTURE)
    result = send(make_target(url_of(form, services)), say(attachments=(chart,)))
    if form.name == "slack-bot":
        # Its upload is a conversation of its own, which this endpoint does not hold.
        return
    assert result.outcome is Outcome.DELIVERED
    assert broken(services) == []
    if form.takes_pictures:
        assert any(
            PICTURE in asked.body and "chart.png" in texts_of(asked) for asked in services.asked
        )


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.takes_pictures])
def test_an_attachment_is_never_a_file_of_its_name(
    services: ServiceServer,
    name: str,
    make_target: MakeTarget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some plugins open the attachment's path, which in Apprise's own class is its mere name."""
    (tmp_path / "chart.png").write_bytes(b"a file of somebody else's")
    monkeypatch.chdir(tmp_path)
    chart = Attachment(name="chart.png", content_type="image/png", content=PICTURE)
    send(make_target(url_of(FORMS[name], services)), say(attachments=(chart,)))
    assert any(PICTURE in asked.body for asked in services.asked)
    assert not any(b"somebody else" in asked.body for asked in services.asked)


@pytest.mark.parametrize(("form", "refusal"), REFUSALS)
def test_a_refusal_is_told_in_the_services_words(
    services: ServiceServer, form: Form, refusal: Refusal, make_target: MakeTarget
) -> None:
    services.replies = [refusal.reply]
    result = send(make_target(url_of(form, services)))
    assert result.outcome is refusal.outcome
    assert result.status_code == refusal.reply.status
    assert refusal.words in (result.error or "")
    assert result.retry_after_seconds == refusal.retry_after
    assert len(services.asked) == 1, "nothing is asked again by itself"


@EACH_FORM
def test_no_later_piece_follows_one_that_failed(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    target = make_target(url_of(form, services))
    text = "words and words " * 4000
    assert send(target, say(text)).outcome is Outcome.DELIVERED
    pieces = sum(map(form.is_message, services.asked))
    before = len(services.asked) - pieces
    services.asked.clear()
    services.replies = [*[form.accepted] * (pieces - 2), reply_text(503, "busy")]
    if form.name == "matrix":  # Logged in by now, it joins its room again or does not.
        services.replies = [reply_text(503, "busy")]
    result = send(target, say(text))
    assert result.status_code == 503
    assert result.outcome is (Outcome.UNKNOWN if pieces > 2 else Outcome.TRANSIENT)
    assert len(services.asked) <= max(1, pieces - 1) + before


@pytest.mark.parametrize("name", ["slack", "discord", "teams", "ntfy", "mattermost", "matrix"])
@pytest.mark.parametrize(
    ("fault", "outcomes"),
    [
        ("reset", {("unknown", "ConnectionError")}),
        ("hang", {("unknown", "ReadTimeout"), ("unknown", "DeadlineExceeded")}),
        ("trickle", {("unknown", "DeadlineExceeded")}),
    ],
)
def test_an_answer_that_does_not_come_is_unknown(
    services: ServiceServer,
    name: str,
    fault: str,
    outcomes: set[tuple[str, str]],
    make_target: MakeTarget,
) -> None:
    form = FORMS[name]
    services.replies = [Reply(fault=fault)]
    result = send(make_target(url_of(form, services), timeout=0.3))
    assert (str(result.outcome), result.error_class) in outcomes
    assert len(services.asked) == 1


@pytest.mark.parametrize("name", ["slack", "discord", "teams", "telegram"])
def test_a_certificate_that_nobody_vouches_for_ends_it(
    services: ServiceServer,
    name: str,
    make_target: MakeTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default = ssl.get_default_verify_paths().cafile
    if default is None or not Path(default).exists():
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    else:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", default)
    result = send(make_target(url_of(FORMS[name], services)))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "SSLError")
    assert services.asked == []


def test_matrix_never_makes_an_account_nor_logs_out_when_collected(
    services: ServiceServer, make_target: MakeTarget
) -> None:
    """Apprise's plugin does both: by a request out of `__del__`, in whichever thread that runs."""
    form = FORMS["matrix"]
    services.replies = [form.refusals["wrong password"].reply]
    assert send(make_target(url_of(form, services))).outcome is Outcome.PERMANENT
    assert [asked.path.rpartition("/")[2] for asked in services.asked] == ["login"]
    services.asked.clear()
    assert send(make_target(url_of(form, services))).outcome is Outcome.DELIVERED
    assert not [asked for asked in services.asked if "logout" in asked.path]


def test_an_address_as_the_service_shows_it_is_treated_as_its_own(
    services: ServiceServer, make_target: MakeTarget
) -> None:
    """Its limits and its markup go by the service, not by the `https://` before it."""
    target = make_target("https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnop")
    result = send(target, say("words and words " * 2000, "A title", bodies={"markdown": "**b**"}))
    assert result.outcome is Outcome.DELIVERED
    assert "**b**" in services.asked[0].json["content"]
    assert send(target, say("words and words " * 2000, "A title")).outcome is Outcome.DELIVERED
    assert broken(services) == []


def test_discords_last_free_message_is_followed_by_the_rest_it_asks_for(
    services: ServiceServer, make_target: MakeTarget
) -> None:
    services.replies = [
        Reply(204, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.25"})
    ]
    target = make_target(FORMS["discord"].url)
    result = send(target)
    assert (result.outcome, result.retry_after_seconds) == (Outcome.DELIVERED, 1.25)


def test_a_retry_after_holds_back_all_messages_to_its_target_only(
    services: ServiceServer, make_target: MakeTarget
) -> None:
    async def run() -> None:
        services.replies = [FORMS["slack"].refusals["too fast"].reply]
        slack, teams = (make_target(FORMS[name].url) for name in ("slack", "teams"))
        assert (await slack.send(say())).retry_after_seconds == 30
        loop = asyncio.get_running_loop()
        assert 29 < slack.pace.take(loop.time()) <= 30
        assert teams.pace.take(loop.time()) == 0

    asyncio.run(run())


@EACH_FORM
def test_the_services_answer_is_told_without_its_secrets(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    """A proxy's error page shows the request that it did not like, token and all."""
    url = url_of(form, services)
    assert send(make_target(url)).outcome is Outcome.DELIVERED
    echoed = texts_of(services.asked[-1])
    services.clear()
    services.replies = [reply_text(400, f"Bad request: {echoed}")]
    result = send(make_target(url))
    assert result.error is not None
    assert "It said: Bad request" in result.error
    for secret in (
        "cccccccccc", "xoxb-1234", "abcdefghijklmnop", "sig=abc", "abcdefg_", "t" * 15,
        "y" * 40, "sekret", "syt_token", "dXNlcjpzZWtyZXRwYXNzd29yZA",
    ):  # fmt: skip
        assert secret not in result.error
