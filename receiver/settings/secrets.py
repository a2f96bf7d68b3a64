"""Which settings are secrets, and which of them are kept unwisely."""

import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from receiver.settings.model import Settings
from receiver.settings.problems import KeyPath, Origins, dotted
from receiver.settings.values import Secret


def secrets_of(settings: Settings) -> Iterator[tuple[KeyPath, Secret]]:
    """Every secret in the settings, with its key."""
    yield ("store", "url"), settings.store.url
    for name, source in settings.sources.items():
        for index, secret in enumerate(source.secrets):
            yield ("sources", name, "secrets", index), secret
    for key in ("api_key", "password", "totp"):
        credential: Secret | None = getattr(settings.claribi, key)
        if credential is not None:
            yield ("claribi", key), credential
    for name, channel in settings.channels.items():
        for index, url in enumerate(channel.urls):
            yield ("channels", name, "urls", index), url
    for index, route in enumerate(settings.routes):
        for key in ("forward", "forward_secret"):
            forwarding: Secret | None = getattr(route, key)
            if forwarding is not None:
                yield ("routes", index, key), forwarding


def is_sensitive(path: KeyPath, secret: Secret) -> bool:
    """Whether the value has to be hidden: a database without a password, a plain file and an
    address that holds nothing but a host and a path have not.
    """
    if path == ("store", "url"):
        return bool(urlsplit(secret.get_secret_value()).password)
    if path[-1] == "forward" and secret.reference is None:
        url = urlsplit(secret.get_secret_value())
        return bool(url.username or url.password or url.query)
    return not secret.get_secret_value().startswith("file://")


def sensitive_values(settings: Settings) -> frozenset[str]:
    """Every secret's value: what no log line may contain."""
    return frozenset(
        secret.get_secret_value()
        for path, secret in secrets_of(settings)
        if is_sensitive(path, secret)
    )


def find_warnings(settings: Settings, origins: Origins) -> tuple[str, ...]:
    """One line for each secret written out in the file, and each secret file open to others."""
    warnings = []
    for path, secret in secrets_of(settings):
        place = origins.place(path) or "default"
        if secret.reference is None:
            # A literal in a variable is where the system keeps its secrets: nothing to warn of.
            if ".toml:" in place and is_sensitive(path, secret):
                warnings.append(
                    f"{place}: {dotted(path)}: the secret itself stands in the file; "
                    'write "env:NAME" or "file:PATH" instead'
                )
        elif secret.reference.startswith("file:"):
            warnings += _open_to_others(settings.path(secret.reference.removeprefix("file:")))
    return tuple(dict.fromkeys(warnings))


def _open_to_others(file: Path) -> list[str]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return [f"{file}: mode {mode:o} lets others read this secret; chmod 600 {file}"]
    return []
