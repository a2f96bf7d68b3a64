"""The kinds of values that settings hold: durations, rates, secrets, lists."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationInfo,
)

from receiver.durations import format_duration, parse_duration
from receiver.rate import Rate, parse_rate

MIN_SECRET_BYTES = 16
MAX_SECRET_FILE_BYTES = 65_536
_NOT_FOUND_HERE = "unavailable://the-secret-can-not-be-found-here"
"""Stands for a secret that is not needed."""

_REFERENCE = re.compile(r"(env|file):(.*)", re.ASCII | re.DOTALL)


def _positive(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be longer than 0")
    return span


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
"""A span of time, 0 or more."""

PositiveDuration = Annotated[
    timedelta,
    BeforeValidator(lambda value: _positive(parse_duration(value))),
    PlainSerializer(format_duration),
]
"""A span of time, more than 0."""


RateValue = Annotated[Rate, PlainValidator(parse_rate), PlainSerializer(str)]


def one_or_many(value: Any) -> Any:
    """A lone string as a list of one, so that an environment variable can hold it bare."""
    return [value] if isinstance(value, str) else value


class Secret(SecretStr):
    """A secret value that remembers the reference that it came from.

    It shows as its reference or as asterisks, never as its value; `get_secret_value()` has that.
    """

    def __init__(self, value: str, reference: str | None = None) -> None:
        super().__init__(value)
        self.reference = reference
        """`env:NAME` or `file:PATH`; None when the value itself stands in the settings."""

    def _display(self) -> str:
        return self.reference or "**********"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What references are resolved against; the validation context of every settings model."""

    home: Path
    environ: Mapping[str, str]
    needs_secrets: bool = True
    """Whether a secret that can't be found here is a fault. The database's address always is."""


def resolve_secret(value: Any, info: ValidationInfo) -> Secret:
    """The secret that `value` is, or that it refers to by `env:NAME` or `file:PATH`.

    Line breaks at the end are dropped: most editors and `echo` add one to a file. Raises
    ValueError, which never contains the secret, if there is nothing at the reference.
    """
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError('write a string: "env:NAME", "file:PATH" or the value itself')
    surroundings = info.context
    assert isinstance(surroundings, Surroundings), "settings are made by Settings.from_dict"
    match = _REFERENCE.fullmatch(value)
    if match is None:
        secret, reference = value, None
    else:
        reference = value
        look_up = _from_environment if match[1] == "env" else _from_file
        try:
            secret = look_up(match[2], surroundings).rstrip("\r\n")
        except ValueError:
            if surroundings.needs_secrets or info.field_name == "url":
                raise
            secret = _NOT_FOUND_HERE
    if not secret:
        raise ValueError(f"{reference} is empty" if reference else "is empty")
    return Secret(secret, reference)


def _from_environment(name: str, surroundings: Surroundings) -> str:
    try:
        return surroundings.environ[name]
    except KeyError:
        raise ValueError(
            f"the environment variable {name or '(no name)'} is not set; "
            f"set it before the start (export {name or 'NAME'}=…), or use file:PATH"
        ) from None


def _from_file(name: str, surroundings: Surroundings) -> str:
    path = surroundings.home / name
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_BYTES + 1)
        if len(content) > MAX_SECRET_FILE_BYTES:
            raise ValueError(f"the file {path} is larger than {MAX_SECRET_FILE_BYTES} bytes")
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(
            f"the file {path} can't be read ({error.strerror}); write the secret into it"
        ) from None


def _resolve_target(value: Any, info: ValidationInfo) -> Secret:
    # `file://PATH` is a target that appends to a file; `file:PATH` refers to a secret.
    if isinstance(value, str) and value.startswith("file://"):
        if value == "file://":
            raise ValueError("file:// needs a path: file://data/messages.jsonl")
        return Secret(value)
    return resolve_secret(value, info)


Text = Annotated[str, StringConstraints(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(one_or_many)]
Count = Annotated[int, Field(ge=1)]

SecretValue = Annotated[Secret, PlainValidator(resolve_secret), PlainSerializer(str)]
"""A secret, by reference or literal."""


def _long_enough(secret: Secret) -> Secret:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"is shorter than {MIN_SECRET_BYTES} bytes, so it can be guessed; give both sides "
            "a longer one, such as from: openssl rand -hex 32"
        )
    return secret


SigningSecret = Annotated[SecretValue, AfterValidator(_long_enough)]
"""A secret that signs or verifies."""


def _http_address(secret: Secret) -> Secret:
    text = secret.get_secret_value()
    try:
        url = urlsplit(text)
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, brackets without an IPv6 address
        is_address = False
    if text != _NOT_FOUND_HERE and not is_address:
        raise ValueError("must be an http:// or https:// address")
    return secret


ForwardUrl = Annotated[SecretValue, AfterValidator(_http_address)]
"""An address to post to; its path or query may hold a token."""

TargetUrl = Annotated[Secret, PlainValidator(_resolve_target), PlainSerializer(str)]
"""An Apprise URL, or `file://PATH`; a secret, since such URLs carry tokens and passwords."""
