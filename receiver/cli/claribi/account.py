"""The client that the commands use, made from [claribi] of the settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claribi import (
    AuthenticationError,
    ClariBI,
    ClariBIError,
    ConfigurationError,
    ConnectError,
    MfaRequiredError,
    OutcomeUnknownError,
    ValidationError,
)
from receiver.errors import ClarihookError, ConfigError, UsageError
from receiver.settings import load
from receiver.settings.model import ClaribiSettings


@contextmanager
def connect(home: Path) -> Iterator[ClariBI]:
    """A client for the block. What goes wrong with it ends the command in a clear message:
    ConfigError or UsageError (status 2), or ClarihookError (status 1).
    """
    settings = load(home).settings.claribi
    if settings.api_key is None and settings.email is None:
        raise ConfigError(
            "claribi: no account. Set claribi.api_key (or claribi.email and claribi.password) in "
            'config/clarihook.toml, for example api_key = "env:CLARIBI_API_KEY"'
        )
    try:
        client = ClariBI(**_credentials(settings))
    except ConfigurationError as error:
        raise ConfigError(f"claribi: {error}") from None
    with client:
        try:
            yield client
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        except ClariBIError as error:
            # Before the client is closed: an unknown outcome is looked up with it.
            raise ClarihookError(_explained(error, client.base_url)) from None


def _credentials(settings: ClaribiSettings) -> dict[str, Any]:
    secret = {
        name: value.get_secret_value()
        for name in ("api_key", "password", "totp")
        if (value := getattr(settings, name)) is not None
    }
    return {
        **secret,
        "base_url": settings.base_url,
        "email": settings.email,
        "api_key_style": settings.api_key_style,
        "timeout": settings.timeout.total_seconds(),
    }


def _explained(error: ClariBIError, base_url: str) -> str:
    lines = [str(error)]
    if isinstance(error, ValidationError):
        lines += [f"{name}: {'; '.join(texts)}" for name, texts in error.field_errors.items()]
    if isinstance(error, AuthenticationError | MfaRequiredError):
        lines.append("check [claribi] in the settings: clarihook config show")
    if isinstance(error, ConnectError):
        lines.append(f"the API is expected at {base_url} (claribi.base_url in the settings)")
    if isinstance(error, OutcomeUnknownError):
        try:
            found = error.reconcile()
        except ClariBIError as failure:
            lines.append(f"looking it up failed as well: {failure}")
        else:
            lines.append(f"looked up: {len(found.found)} found ({found.note})")
    return "\n".join(lines)
