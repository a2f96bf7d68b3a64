"""Mail over a real SMTP server: its 4xx and 5xx, and what a letter may carry."""

import asyncio
import email
import email.policy

import pytest
from notify_endpoints import Mail, MakeTarget, say, send

from receiver.model import Attachment, Outcome


def url_of(mail: Mail, *, login: str = "", options: str = "") -> str:
    return (
        f"mailto://{login}127.0.0.1:{mail.port}/?from=hook@example.com&to=ops@example.com"
        f"&mode=insecure{options}"
    )


def read(letter: bytes) -> email.message.EmailMessage:
    parsed = email.message_from_bytes(letter, policy=email.policy.default)
    assert isinstance(parsed, email.message.EmailMessage)
    return parsed


def test_letter_arrives(mail: Mail, make_target: MakeTarget) -> None:
    chart = Attachment(name="chart.png", content_type="image/png", content=b"PNG!")
    result = send(make_target(url_of(mail)), say("<b>Body</b> @all", "Title", attachments=(chart,)))
    assert (result.outcome, result.status_code) == (Outcome.DELIVERED, None)
    letter = read(mail.letters[0])
    assert (letter["Subject"], letter["To"]) == ("Title", "ops@example.com")
    (attached,) = letter.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("chart.png", b"PNG!")
    body = letter.get_body(("plain",))
    assert body is not None
    assert "<b>Body</b> @all" in body.get_content()


def test_title_can_not_add_headers(mail: Mail, make_target: MakeTarget) -> None:
    send(make_target(url_of(mail)), say("Body", "Hello\r\nBcc: all@example.com\nX-Evil: yes"))
    letter = read(mail.letters[0])
    assert letter["Bcc"] is None
    assert letter["X-Evil"] is None
    assert letter["Subject"] == "Hello Bcc: all@example.com X-Evil: yes"


@pytest.mark.parametrize(
    ("step", "answer", "outcome"),
    [
        ("rcpt", "450 4.2.1 mailbox busy", Outcome.TRANSIENT),
        ("rcpt", "550 5.1.1 no such user", Outcome.PERMANENT),
        ("data", "451 4.3.0 try later", Outcome.TRANSIENT),
        ("data", "554 5.7.1 refused as spam", Outcome.PERMANENT),
    ],
)
def test_refused_letter_is_judged_by_the_servers_code(
    mail: Mail, make_target: MakeTarget, step: str, answer: str, outcome: Outcome
) -> None:
    setattr(mail, f"{step}_answer", answer)
    result = send(make_target(url_of(mail)))
    assert (result.outcome, result.status_code) == (outcome, None)
    code, _, text = answer.partition(" ")
    assert f"the mail server answered {code}" in (result.error or "")
    assert text in (result.error or "")


def test_wrong_password_is_permanent_and_not_shown(mail: Mail, make_target: MakeTarget) -> None:
    url = url_of(mail, login="hookuser:wrong-planted-password@", options="&user=hookuser")
    result = send(make_target(url))
    assert (result.outcome, result.error_class) == (Outcome.PERMANENT, "SMTPAuthenticationError")
    assert "planted" not in (result.error or "")


def test_server_without_tls_is_permanent_when_tls_is_asked_for(
    mail: Mail, make_target: MakeTarget
) -> None:
    url = url_of(mail).replace("mode=insecure", "mode=starttls")
    result = send(make_target(url))
    assert (result.outcome, result.error_class) == (Outcome.PERMANENT, "SMTPNotSupportedError")


def test_no_mail_server_is_transient(make_target: MakeTarget, free_port: int) -> None:
    result = send(make_target(url_of(Mail(port=free_port))))
    assert (result.outcome, result.error_class) == (Outcome.TRANSIENT, "ConnectionRefusedError")


def test_no_receipt_for_a_letter_is_unknown(mail: Mail, make_target: MakeTarget) -> None:
    mail.hang = asyncio.Event()
    result = send(make_target(url_of(mail), timeout=0.5))
    assert (result.outcome, result.error_class) == (Outcome.UNKNOWN, "SMTPServerDisconnected")


def test_mail_server_that_hangs_is_cut_off_at_the_deadline(
    mail: Mail, make_target: MakeTarget
) -> None:
    mail.hang = asyncio.Event()

    async def run() -> None:
        target = make_target(url_of(mail), timeout=0.2)
        target.open().socket_connect_timeout = 60
        assert (await target.send(say())).error_class == "DeadlineExceeded"
        stuck = target._lane._slots[0].running
        assert stuck is not None
        await stuck
        await target.close()

    asyncio.run(run())
