"""Secrets given on the command line: the value itself, or where it is."""

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from receiver.errors import UsageError
from receiver.settings.values import SecretValue, Surroundings


def resolve(option: str, text: str, home: Path) -> str:
    """The secret that `env:NAME`, `file:PATH` (relative to the home) or the text itself is.

    Raises UsageError, which never contains the secret, if there is nothing where it should be.
    """
    around = Surroundings(home=home, environ=os.environ)
    try:
        found = TypeAdapter(SecretValue).validate_python(text, context=around)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{option}: {reason}") from None
    return str(found.get_secret_value())
