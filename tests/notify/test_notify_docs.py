"""docs/channels.md: every URL that it shows is one that works."""

import re
from pathlib import Path

import pytest

from receiver.model import Outcome
from receiver.notify.apprise_service import open_service
from receiver.notify.file_target import file_path

PAGE = Path(__file__).parents[2] / "docs" / "channels.md"
TABLE = PAGE.read_text().split("## Writing a target's URL")[1].split("### ")[0]
FILLED = {
    "T…/B…/…": f"TAAAAAAAA/BBBBBBBBB/{'c' * 24}",
    "services/…": f"services/TAAAAAAAA/BBBBBBBBB/{'c' * 24}",
    "webhooks/…": "webhooks/123456789012345678/abcdefghijklmnop",
    "https://….logic": "https://prod-1.westeurope.logic",
    "workflows/…": "workflows/0123456789abcdef/triggers/manual/paths/invoke?sig=abcdefgh",
    "xoxb-…": "xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d",
    "BOT_TOKEN/CHAT_ID": "123456789:abcdefg_hijklmnop/12315544",
    "mattermost.example.com/TOKEN": "mattermost.example.com/3ccdd113474722377935511fc85d3dd4",
    "WEBHOOK_ID/TOKEN": "123456789012345678/abcdefghijklmnop",
    "X-Token=…": "X-Token=abc",
}


def shown_urls() -> list[str]:
    rows = [line.partition("|")[2] for line in TABLE.splitlines() if line.startswith("| ")]
    return [url for row in rows for url in re.findall(r"`([a-z]+://[^`]{3,})`", row)]


@pytest.mark.parametrize("url", shown_urls())
def test_url_on_the_page_is_one_recipient(url: str, tmp_path: Path) -> None:
    for placeholder, value in FILLED.items():
        url = url.replace(placeholder, value)
    assert "…" not in url
    if url.startswith("file://"):
        file_path(url, tmp_path, where="X")
    else:
        open_service(url, where="X", timeout_seconds=20)


def test_page_shows_many_urls_and_all_outcomes() -> None:
    assert len(shown_urls()) >= 12
    assert all(f"| `{outcome.value}` |" in PAGE.read_text() for outcome in Outcome)
