"""Secrets planted in every part of a URL: none of them comes out anywhere, even at DEBUG."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from notify_endpoints import Mail, Web, say

from receiver.errors import ConfigError
from receiver.notify import ChannelSpec, Notifier, SendResult

PLANTED = "PLANTED"


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Everything that any logger says, all loggers at DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    yield stream
    logging.getLogger("urllib3").setLevel(logging.NOTSET)
    root.setLevel(level)
    root.removeHandler(handler)


def urls_of(host: str, kind: str) -> list[str]:
    """URLs of services of several kinds, each with secrets wherever it takes any."""
    query = (
        f"?+Authorization=Bearer%20{PLANTED}head&+X-Key={PLANTED}key1&-token={PLANTED}parm"
        f"&:secret={PLANTED}load"
    )
    user = f"{PLANTED}user:{PLANTED}%2Fpass"
    token = (PLANTED + "x" * 30)[:24]
    return [
        f"json://{user}@{host}/{kind}/{PLANTED}path/{query}",
        f"form://{user}@{host}/{kind}/{PLANTED}path/{query}",
        f"xml://{user}@{host}/{kind}/{PLANTED}path/{query}",
        f"mmost://{PLANTED}bot@{host}/{kind}/{token}",
        f"ntfy://{user}@{host}/{PLANTED}topic",
        f"gotify://{host}/{kind}/{(PLANTED + 'x' * 30)[:15]}",
        f"rocket://{host}/{PLANTED}hook/{PLANTED}{'y' * 40}/%23{PLANTED}room",
        f"mailto://{user}@{host}/?to={PLANTED}to@example.com&from={PLANTED}@example.com&mode=insecure",
        f"slack://{PLANTED}AA/{PLANTED}BB/{token}/%23{PLANTED}chan",
        f"discord://{PLANTED}hookid/{PLANTED}hooktoken",
    ]


async def send_all(made: Notifier, last: int) -> list[SendResult]:
    names = made.targets("ops")[:last]
    return [await made.get(name).send(say()) for name in names]


@pytest.mark.parametrize("kind", ["in", "status/401", "status/503", "redirect/307", "reset"])
def test_no_secret_in_logs_results_and_errors(
    tmp_path: Path, web: Web, logs: io.StringIO, kind: str
) -> None:
    urls = urls_of(web.host, kind)
    web.answer_body = f"You sent {urls[0]} with {PLANTED}head and {PLANTED}/pass".encode()
    spec = ChannelSpec(urls=tuple(urls), timeout_seconds=5)
    made = Notifier({"ops": spec}, home=tmp_path)

    async def run() -> list[SendResult]:
        # The last three would leave this machine (and mail does not speak HTTP).
        return await send_all(made, 7)

    results = asyncio.run(run())
    assert len(web.requests) >= 3, "the endpoints were really reached"
    sent = " ".join(request.path + str(request.headers) for request in web.requests)
    assert PLANTED in sent, "the secrets were really used"
    assert PLANTED not in logs.getvalue()
    assert PLANTED not in "".join(map(repr, results))
    assert all(PLANTED not in (result.error or "") for result in results)
    if kind == "status/401":
        assert "You sent json://***@" in (results[0].error or "")


def test_no_secret_of_a_mail_url_is_told(tmp_path: Path, mail: Mail, logs: io.StringIO) -> None:
    url = (
        f"mailto://{PLANTED}login:{PLANTED}pass@127.0.0.1:{mail.port}/?to={PLANTED}@example.com"
        f"&from={PLANTED}from@example.com&mode=insecure&+X-Key={PLANTED}head"
    )
    made = Notifier({"ops": ChannelSpec(urls=(url,))}, home=tmp_path)
    (result,) = asyncio.run(send_all(made, 1))
    assert mail.credentials is not None
    assert mail.credentials[1] == f"{PLANTED}pass".encode(), "the secrets were really used"
    assert result.error_class == "SMTPAuthenticationError"
    assert PLANTED not in repr(result) + logs.getvalue()


def test_no_secret_in_what_is_said_of_bad_urls(tmp_path: Path, logs: io.StringIO) -> None:
    bad = [
        f"slak://{PLANTED}AA/{PLANTED}BB",
        f"slack://{PLANTED}AA/{PLANTED}-BB!/{PLANTED}",
        f"discord://{PLANTED}",
        f"mailto://{PLANTED}:{PLANTED}pass@",
        f"tgram://{PLANTED}token/{PLANTED}",
        f"twilio://{PLANTED}:{PLANTED}token@12",
        f"ntfy://{PLANTED}user:{PLANTED}pass@localhost/{PLANTED}1/{PLANTED}2",
        f"json://localhost/{PLANTED}?method={PLANTED}",
    ]
    made = Notifier({"ops": ChannelSpec(urls=tuple(bad))}, home=tmp_path)
    with pytest.raises(ConfigError) as caught:
        made.check()
    assert len(caught.value.problems) == len(bad)
    assert PLANTED not in str(caught.value)
    assert caught.value.__cause__ is None
    assert PLANTED not in logs.getvalue()
    results = asyncio.run(send_all(made, len(bad)))
    assert PLANTED not in "".join(map(repr, results)) + logs.getvalue()


def test_no_secret_in_the_text_of_the_objects(tmp_path: Path) -> None:
    made = Notifier({"ops": ChannelSpec(urls=tuple(urls_of("localhost", "in")))}, home=tmp_path)
    shown = repr(made) + repr(made.channels) + repr(made.redactor)
    shown += "".join(repr(made.get(name)) for name in made.targets("ops"))
    assert PLANTED not in shown
