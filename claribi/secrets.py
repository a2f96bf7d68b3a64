"""Keeping secrets out of whatever is printed."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "**********"

_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|dsn|^access$|^refresh$", re.IGNORECASE)
# The shapes of clariBI's API keys and of JWTs, for text that we did not write ourselves.
_SECRET_TEXT = re.compile(
    r"claribi_[A-Za-z0-9_]{8,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
)
# `task_id` and the like are no secrets, whatever else their name holds.
_PLAIN_NAMES = frozenset({"token_type", "primary_key", "keyword", "keywords"})


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is masked: `password`, `api_key`, `dsn`, …"""
    return name not in _PLAIN_NAMES and _SECRET_NAME.search(name) is not None


def masked(value: Any) -> Any:
    """A copy of JSON values in which every secret field's value is replaced by stars."""
    if isinstance(value, Mapping):
        return {
            name: MASK if is_secret_name(str(name)) and item is not None else masked(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value


def redacted(text: str) -> str:
    """Text in which anything shaped like an API key or a JWT is replaced by stars."""
    return _SECRET_TEXT.sub(MASK, text)
