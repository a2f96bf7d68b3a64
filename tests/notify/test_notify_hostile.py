"""No payload mentions anybody, hides a link or makes a tag, in any service's markup.

The bytes that arrive are read by the rules of the service (markup.py), not compared.
"""

import asyncio
import unicodedata

import pytest
from hostile_payloads import LONG, PAYLOADS
from markup import Markup, live, unseen
from notify_endpoints import MakeTarget, say
from service_forms import FORMS, Form, Services
from service_server import ServiceServer

from receiver.model import Outcome


def visible(text: str) -> str:
    """What a person reads of it."""
    return "".join(
        char
        for char in text
        if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
    )


async def send_each(server: ServiceServer, form: Form, make: MakeTarget, bodies: list[str]) -> None:
    target = make(form.url.format(address=server.address), timeout=60)
    for body in bodies:
        title = body[:200]
        result = await target.send(say(f"{body}\nand {body} x{body}", title))
        assert result.outcome is Outcome.DELIVERED, (body[:80], result)
    await target.close()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_nothing_in_a_payload_is_live(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    asyncio.run(send_each(services, form, make_target, [*PAYLOADS]))
    judge = services.judge
    assert isinstance(judge, Services)
    assert judge.broken == []
    messages = [asked for asked in services.asked if form.is_message(asked)]
    assert len(messages) >= len(PAYLOADS)
    found = []
    for asked in messages:
        for shown in form.shown(asked):
            found += [(each, shown.text) for each in live(shown.text, shown.markup)]
            found += [(each, shown.text) for each in unseen(shown.text)]
    assert found == []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_line_of_a_megabyte_is_three_messages_and_not_live(
    services: ServiceServer, form: Form, make_target: MakeTarget
) -> None:
    for line in LONG:
        services.asked.clear()
        asyncio.run(send_each(services, form, make_target, [line]))
        messages = [asked for asked in services.asked if form.is_message(asked)]
        assert 1 <= len(messages) <= 3
        for asked in messages:
            for shown in form.shown(asked):
                assert live(shown.text, shown.markup) == []


@pytest.mark.parametrize("name", ["json", "xml", "form"])
def test_machines_get_every_character_as_it_was(
    services: ServiceServer, name: str, make_target: MakeTarget
) -> None:
    form = FORMS[name]
    asyncio.run(send_each(services, form, make_target, [*PAYLOADS]))
    for payload, asked in zip(PAYLOADS, services.asked, strict=True):
        title, body = form.shown(asked)
        text = payload.replace("\r\n", "\n")
        # Apprise leaves out blanks at the end.
        assert visible(body.text) == visible(f"{text}\nand {text} x{text}").rstrip()
        assert "\n" not in title.text


def test_the_readers_see_what_is_live() -> None:
    """Or the tests above would prove nothing."""
    cases = {
        Markup.SLACK: ("<!channel>", "<http://evil|x>", "<@U1>"),
        Markup.DISCORD: ("@everyone", "<@1>", "<@&1>", "[x](http://e)", "</a:1>", "<id:home>"),
        Markup.TEAMS: ("<at>x</at>", "[x](http://e)", "[y]\n\n[y]: http://e"),
        Markup.MARKDOWN: ("[x](http://e)", "![x](http://e)", "<b>", "<http://e>"),
        Markup.MATTERMOST: ("@bob", "@all", "~town", "#tag", "![x](http://e)"),
        Markup.ROCKETCHAT: ("@bob", "#general", "[x](http://e)"),
        Markup.TELEGRAM: ("[x](http://e)", "@bobby", "/kick", "#tag"),
        Markup.TELEGRAM_HTML: ("<a href='http://e'>x</a>", "@bobby"),
        Markup.MATRIX_PLAIN: ("@room", "@bob:e.example"),
        Markup.MATRIX_HTML: ("<img src='x'>", "@room"),
        Markup.MAIL_HTML: ("<script>", "<b onclick=x>", "<a href=x>", "<form>"),
    }
    for markup, texts in cases.items():
        for text in texts:
            assert live(text, markup), (markup, text)
    assert unseen("\u202e\x00\ud800")
