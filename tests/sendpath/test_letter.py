"""A shipped handler's letter, from the webhook to the mail server: HTML, plain text and chart."""

import email
import email.policy
import json
from pathlib import Path

from notify_endpoints import Mail
from sendpath_deployment import until
from serve_process import REPOSITORY, serving, write_home

from receiver.pytest_plugin.sandbox import ServedSandbox
from receiver.samples import SAMPLE_DATA

EVENT = "billing.credits_low"


def test_credits_low_is_a_letter_with_a_chart(
    tmp_path: Path, mail: Mail, claribi_sandbox: ServedSandbox
) -> None:
    url = f"mailto://127.0.0.1:{mail.port}/?from=hook@example.com&to=ops@example.com&mode=insecure"
    home = write_home(
        tmp_path / "home",
        handlers=(REPOSITORY / "handlers" / "billing_credits_low.py").read_text("utf-8"),
        settings=f'[channels.ops]\nurls = ["{url}"]\n[claribi]\n'
        f'base_url = "{claribi_sandbox.base_url}"\napi_key = "{claribi_sandbox.sandbox.api_key}"\n',
    )
    body = {"event": EVENT, "timestamp": "2026-03-01T12:00:00Z", "data": SAMPLE_DATA[EVENT]}
    with serving(home) as serve:
        assert serve.post(json.dumps(body).encode())[0] == 202
        until(lambda: bool(mail.letters), "the letter has come")
        assert serve.stop() == 0

    (letter,) = (
        email.message_from_bytes(each, policy=email.policy.default) for each in mail.letters
    )
    assert isinstance(letter, email.message.EmailMessage)
    assert "credits" in letter["Subject"]
    rich, plain = letter.get_body(("html",)), letter.get_body(("plain",))
    assert rich is not None
    assert plain is not None
    for part in (rich, plain):
        assert "AI credits" in part.get_content()
    assert "<table" in rich.get_content()
    assert "<" not in plain.get_content()
    (chart,) = letter.iter_attachments()
    assert (chart.get_filename(), chart.get_content_type()) == ("credits.png", "image/png")
    assert chart.get_content().startswith(b"\x89PNG\r\n\x1a\n")
