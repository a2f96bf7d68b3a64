"""The demo's deployment: the shipped handlers, and settings that name the demo's own servers."""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from receiver.errors import UsageError

MESSAGES_FILE = "data/messages.jsonl"

_SETTINGS = """\
# Written by `clarihook demo`. The ports are gone when it ends; all else works on:
#   clarihook events list --home .

[server]
port = {receiver_port}
drain_timeout = "3s"

[console]
port = {console_port}
public_url = "{console}"

[sources.claribi]
scheme = "claribi"
secrets = ["file:secrets/claribi_webhook_secret"]

[claribi]
base_url = "{sandbox}/api/"
api_key = "file:secrets/claribi_api_key"

[channels.ops]
urls = ["{inbox}", "file://{messages}"]
"""


@contextmanager
def open_folder(wanted: Path | None) -> Iterator[Path]:
    """The demo's folder: `wanted`, which is kept, or a temporary one.

    Raises UsageError if `wanted` has something in it: a demo never touches a real deployment.
    """
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="clarihook-demo-") as name:
            yield Path(name)
        return
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_used = any(wanted.iterdir())
    except OSError as error:
        raise UsageError(f"--home {wanted}: {error.strerror}; name a new folder") from None
    if is_used:
        raise UsageError(f"--home {wanted}: there is something in it; name a new folder")
    yield wanted


def write_home(
    home: Path,
    handlers: Mapping[str, str],
    *,
    receiver_port: int,
    console: str,
    sandbox: str,
    inbox: str,
    api_key: str,
) -> str:
    """Write a deployment and return its fresh webhook secret.

    `handlers` has the files' texts by their paths in the home, `console` and `sandbox`
    are origins and `inbox` an Apprise URL.
    """
    secret = secrets.token_hex(32)
    settings = _SETTINGS.format(
        receiver_port=receiver_port,
        console=console,
        console_port=urlsplit(console).port,
        sandbox=sandbox,
        inbox=inbox,
        messages=MESSAGES_FILE,
    )
    files = {
        **handlers,
        "config/clarihook.toml": settings,
        "secrets/claribi_webhook_secret": secret,
        "secrets/claribi_api_key": api_key,
    }
    for path, text in files.items():
        file = home / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text, "utf-8")
    return secret
