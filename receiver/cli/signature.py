"""`clarihook signature`: why a request's signature is refused."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from receiver.cli.completing import one_of, sources
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.rejections import find_rejection
from receiver.cli.secrets import resolve
from receiver.cli.times import moment_ms
from receiver.diagnose import Captured, Examination, examine, from_curl, from_har
from receiver.errors import UsageError
from receiver.model import parse_headers
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint
from receiver.signatures import PRESETS, SchemeSpec

app = typer.Typer(help="Find out why a signature is refused.")

_NAMED = ("standard", "claribi", "github", "stripe", "slack", "shopify")
"""The schemes that say by themselves where a signature stands."""

Headers = Sequence[tuple[str, str]]


@app.callback()
def group() -> None:
    """Keeps `check` a command of its own while it is the only one."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The request in question."""

    headers: Headers
    body: bytes
    at: float
    """When it arrived, in Unix seconds."""
    source: str | None = None


@app.command()
def check(
    rejection: Annotated[
        int | None, typer.Argument(metavar="REJECTION", help="A refused request's number, …")
    ] = None,
    *,
    headers_file: Annotated[
        Path | None,
        typer.Option(help="… or a file with its headers: `Name: value` lines, or JSON, and"),
    ] = None,
    body_file: Annotated[
        Path | None, typer.Option(help="a file with the exact bytes of its body, …")
    ] = None,
    curl: Annotated[
        str | None, typer.Option(help="… or a curl command that sends it, @FILE with one, …")
    ] = None,
    har: Annotated[
        Path | None, typer.Option(help="… or an HTTP archive (HAR), or one entry of one.")
    ] = None,
    entry: Annotated[
        int | None, typer.Option(min=1, help="With --har: which entry, counted from 1.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Check it as this source: its scheme and secrets.", autocompletion=sources
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Instead of a source's: env:NAME, file:PATH or the secret itself."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="With --secret: only this scheme, not all of them.", autocompletion=one_of(*_NAMED)
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it arrived; else as captured, or now. As --since."),
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Say which scheme a captured request fits, or what is wrong: every cause is tried out.

    The exit status is 0 if the signature is valid, else 1.

    Example: clarihook signature check 12

    Example: clarihook signature check --headers-file h.txt --body-file b.json --secret env:SECRET

    Example: clarihook signature check --curl @sent.sh --source claribi

    Example: clarihook signature check --har session.har --entry 3 --secret file:secret.txt
    """
    given = Given(rejection, headers_file, body_file, curl, har, entry)
    given.check()
    settings = load_settings(home) if rejection is not None or secret is None else None
    capture = _capture(settings, given, at)
    if secret is not None:
        secrets = [resolve("--secret", secret, home)]
        specs = [_spec(scheme)] if scheme else [_spec(name) for name in PRESETS if name in _NAMED]
    else:
        assert settings is not None, "loaded for its source"
        name = _source_name(settings, source or capture.source)
        chosen = settings.sources[name]
        secrets = [secret.get_secret_value() for secret in chosen.secrets]
        specs = [SchemeSpec(**chosen.scheme_options)]
    found = [examine(spec, secrets, capture.headers, capture.body, capture.at) for spec in specs]
    best = min(found, key=_rank)
    if as_json:
        print_json(asdict(best))
    else:
        _print(best)
    if best.verified is None:
        raise typer.Exit(1)


def _rank(found: Examination) -> tuple[bool, bool, int]:
    return found.verified is None, not found.is_explained, len(found.causes)


def _spec(scheme: str) -> SchemeSpec:
    if scheme not in _NAMED:
        raise UsageError(f"--scheme {scheme}: use one of {', '.join(_NAMED)}, or --source")
    return SchemeSpec(scheme=scheme)


def _source_name(settings: Settings, name: str | None) -> str:
    if name is None and len(settings.sources) == 1:
        name = next(iter(settings.sources))
    if name is None or name not in settings.sources:
        hint = name_hint(name or "", settings.sources)
        what = "say which source" if name is None else f"there is no source {name!r}"
        raise UsageError(f"{what}; {hint}; give --source NAME, or --secret")
    return name


class Given(NamedTuple):
    """Where the request is, as the options say."""

    rejection: int | None
    headers_file: Path | None
    body_file: Path | None
    curl: str | None
    har: Path | None
    entry: int | None

    def check(self) -> None:
        """Raises UsageError unless it is in exactly one place."""
        files = self.headers_file is not None or self.body_file is not None
        places = sum(
            [self.rejection is not None, files, self.curl is not None, self.har is not None]
        )
        if places != 1 or (files and None in (self.headers_file, self.body_file)):
            raise UsageError(
                "give the request in one way: a rejection's number, or --headers-file and "
                "--body-file, or --curl, or --har"
            )
        if self.entry is not None and self.har is None:
            raise UsageError("--entry is for --har")


def _capture(settings: Settings | None, given: Given, at: str | None) -> Capture:
    arrived_ms = moment_ms("--at", at)
    if given.rejection is not None:
        assert settings is not None, "loaded for its database"
        return _refused(settings, given.rejection, arrived_ms)
    captured = _captured(given)
    when = captured.at if captured.at is not None else time.time()
    if arrived_ms is not None:
        when = arrived_ms / 1000
    return Capture(headers=captured.headers, body=captured.body, at=when)


def _refused(settings: Settings, number: int, arrived_ms: int | None) -> Capture:
    stored = asyncio.run(find_rejection(settings, number))
    if len(stored.body) < stored.body_bytes:
        raise UsageError(
            f"of rejection {number} only {len(stored.body)} of {stored.body_bytes} bytes "
            "were kept, so its signature can't be tried; capture it with --body-file"
        )
    when_ms = stored.received_ms if arrived_ms is None else arrived_ms
    headers = parse_headers(stored.headers)
    return Capture(headers=headers, body=stored.body, at=when_ms / 1000, source=stored.source)


def _captured(given: Given) -> Captured:
    option, read = "--curl", _text
    try:
        if given.curl is not None:
            is_file = given.curl.startswith("@")
            command = read(Path(given.curl[1:])) if is_file else given.curl
            return from_curl(command, lambda name: _read(Path(name)))
        if given.har is not None:
            option = "--har"
            return from_har(read(given.har), given.entry)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{option}: {error}") from None
    assert given.headers_file is not None, "checked"
    assert given.body_file is not None, "checked"
    headers = _parse_headers(read(given.headers_file))
    return Captured(headers=headers, body=_read(given.body_file))


def _text(path: Path) -> str:
    return _read(path).decode("utf-8", errors="surrogateescape")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None


def _parse_headers(text: str) -> Headers:
    """`Name: value` lines, with or without the request line; or JSON, an object or pairs."""
    if text.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(text)
            pairs = value.items() if isinstance(value, dict) else value
            return [(str(name), str(each)) for name, each in pairs]
        except (ValueError, TypeError):
            raise UsageError(
                "--headers-file is neither a JSON object nor a list of pairs"
            ) from None
    pairs = [line.partition(":") for line in text.splitlines()]
    found = [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
    return [(name, value) for name, value in found if name and " " not in name]


def _print(found: Examination) -> None:
    if found.verified is not None:
        index = found.verified.secret_index
        print_line(f"valid: scheme {found.scheme}, secret {index}", "bold green")
        return
    print_line(f"refused as {found.scheme}: {found.refusal}", "bold red")
    word = "because" if found.is_explained else "maybe"
    for cause in found.causes:
        print_line(f"  {word}  {cause}")
