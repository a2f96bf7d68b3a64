"""The same payloads as values of templates: in Markdown to chats and in HTML to mail, too, nothing
of a payload is live, and what the template itself links still is.
"""

import asyncio
import email
import email.policy
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hostile_payloads import PAYLOADS
from markup import Live, Markup, live, unseen
from notify_endpoints import Mail, MakeTarget, say
from service_forms import FORMS, Form, Services
from service_server import ServiceServer

from receiver.model import Event, EventId, Message, Outcome, Severity
from receiver.templates.library import Templates

OURS = "https://hooks.example.com/events/evt_1"
TEMPLATES = {
    "all.txt": '{% set title = "T: " ~ data.x %}{{ data.x }}\n{{ "open"|link(event_url) }}',
    "all.md": (
        '{{ "open"|link(event_url) }}\n\n'
        "# {{ data.x }}\n\n**{{ data.x }}** and _{{ data.x }}_ x{{ data.x }}\n\n- {{ data.x }}\n"
        "- **Name:** {{ data.x }}\n\n1. {{ data.x }}\n\n> {{ data.x }}\n\n{{ data.x|code }} "
        "x\n\n{{ data.x|block }}\n\n{{ data.x|link(event_url) }} "
        '{{ "x"|link(data.x) }}\n\n{{ data.x|truncate(9) }}'
    ),
    "all.html": (
        "<p>{{ data.x }}<b>{{ data.x }}</b> x{{ data.x }}</p>"
        '<p title="{{ data.x }}">{{ data.x|code }}{{ data.x|block }}</p>'
        '{{ data.x|link(event_url) }} {{ "x"|link(data.x) }}{{ data.x|truncate(9) }}'
    ),
}
CHATS = [form for name, form in FORMS.items() if name not in ("slack-bot", "json", "xml", "form")]


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, source in TEMPLATES.items():
        (folder / name).write_text(source, "utf-8")
    return Templates(folder, public_url="https://hooks.example.com/")


def message_of(templates: Templates, payload: str) -> Message:
    event = Event(
        id=EventId("evt_1"),
        seq=1,
        source="claribi",
        type="all",
        received_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        body=json.dumps({"event": "all", "data": {"x": payload}}).encode(),
    )
    made = templates.render("all", event, Severity.WARNING)
    assert made.notes == ()
    assert made.bodies.keys() == {"text", "markdown", "html"}
    return say(made.bodies["text"], made.title, bodies=made.bodies)


def not_ours(found: list[Live], payload: str) -> list[Live]:
    """What is live and is no link that the template was to make: to us, or to a value that is an
    address and shows itself as one.
    """
    fine = {Live("link", OURS)}
    if payload.startswith(("http://", "https://")):
        fine |= {each for each in found if each.kind == "link" and "xample.com" in each.what}
    # With a zero-width space in it, it is no address: a long text's pieces may end a block of code.
    return [each for each in found if each not in fine and ":\u200b//" not in each.what]


@pytest.mark.parametrize("form", CHATS, ids=lambda form: form.name)
def test_nothing_in_a_value_is_live_in_a_chat(
    services: ServiceServer, form: Form, make_target: MakeTarget, templates: Templates
) -> None:
    async def run() -> None:
        target = make_target(form.url.format(address=services.address), timeout=60)
        for payload in PAYLOADS:
            services.asked.clear()
            result = await target.send(message_of(templates, payload))
            assert result.outcome is Outcome.DELIVERED, (payload, result)
            shown = [
                each
                for asked in services.asked
                if form.is_message(asked)
                for each in form.shown(asked)
            ]
            seen = [each for text in shown for each in live(text.text, text.markup)]
            assert not_ours(seen, payload) == [], (payload, [each.text for each in shown])
            assert [each for text in shown for each in unseen(text.text)] == [], payload
            assert any(OURS in text.text for text in shown), (payload, shown)
        await target.close()

    asyncio.run(run())
    judge = services.judge
    assert isinstance(judge, Services)
    assert judge.broken == []


def test_nothing_in_a_value_is_live_in_a_mail(
    mail: Mail, make_target: MakeTarget, templates: Templates
) -> None:
    url = f"mailto://127.0.0.1:{mail.port}/?from=a@example.com&to=b@example.com&mode=insecure"

    async def run() -> None:
        target = make_target(url)
        for payload in PAYLOADS:
            result = await target.send(message_of(templates, payload))
            assert result.outcome is Outcome.DELIVERED, (payload, result)
        await target.close()

    asyncio.run(run())
    for payload, letter in zip(PAYLOADS, mail.letters, strict=True):
        parsed = email.message_from_bytes(letter, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        assert parsed["Bcc"] is None
        assert parsed["X-Evil"] is None
        assert parsed["To"] == "b@example.com"
        html, plain = parsed.get_body(("html",)), parsed.get_body(("plain",))
        assert html is not None, "the HTML is there"
        assert plain is not None, "and so is a plain text"
        content = html.get_content()
        assert not_ours(live(content, Markup.MAIL_HTML), payload) == [], payload
        assert OURS in content
        assert unseen(content.replace("\r", "")) == []
