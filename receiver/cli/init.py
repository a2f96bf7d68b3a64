"""`clarihook init`: a folder with everything that a deployment needs to start."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Annotated, NamedTuple

import typer

from receiver.cli.options import HERE, HomeOption
from receiver.cli.output import print_line
from receiver.errors import ClarihookError, UsageError

SECRET_FILE = "secrets/claribi_webhook_secret"  # noqa: S105 - a path
SECRET_IN_STARTER = '"env:CLARIBI_WEBHOOK_SECRET"'  # noqa: S105 - a reference

GITIGNORE = """\
# Secrets and data stay on this machine.
/data/
/secrets/
.env
__pycache__/
"""


class StarterFile(NamedTuple):
    """A file that `init` writes."""

    path: str
    """Relative to the home."""
    content: str
    mode: int


def init(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The folder; made if there is none.")
    ] = None,
    home: HomeOption = HERE,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite settings and handlers that are there.")
    ] = False,
) -> None:
    """Make a folder ready to serve: settings, handlers, a fresh webhook secret, a place for data.

    What is already there is kept, unless --force; the secret and the data always are.

    Example: clarihook init my-hooks
    """
    folder = (directory.expanduser() if directory else home).absolute()
    try:
        written = _write_all(folder, force=force)
    except OSError as error:
        at = error.filename or folder
        raise UsageError(f"{at}: {error.strerror}; name a folder that you can write to") from None
    for line in _next_steps(folder, is_fresh="config/clarihook.toml" in written):
        print_line(line)


def starter_files() -> Iterator[StarterFile]:
    """The shipped settings and handlers, from the installed package or from the clone.

    The settings come as shipped. Raises ClarihookError if the installation lacks them.
    """
    package = Path(__file__).resolve().parents[1]
    roots = (package / "starter", package.parent)
    root = next((r for r in roots if (r / "config" / "clarihook.toml").is_file()), None)
    if root is None:
        raise ClarihookError("the starter files are missing; install clarihook again")
    for folder, mode in (("config", 0o600), ("handlers", 0o644)):
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
            if file.is_file() and not hidden:
                yield StarterFile(path.as_posix(), file.read_text("utf-8"), mode)


def _write_all(folder: Path, *, force: bool) -> list[str]:
    """Write what is missing (with `force`, also what is not) and say so; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    for private in ("data", "secrets"):
        (folder / private).mkdir(mode=0o700, exist_ok=True)
    written = []
    for file in _deployment_files():
        may_replace = force and file.path != SECRET_FILE
        if may_replace or not (folder / file.path).exists():
            _write(folder / file.path, file)
            written.append(file.path)
            print_line(f"  wrote  {file.path}")
        else:
            print_line(f"  kept   {file.path}", "yellow")
    return written


def _deployment_files() -> Iterator[StarterFile]:
    """The starter files, with the settings pointing at a secret that is made here.

    The shipped settings take it from the environment, which suits containers. `init` makes a
    random one instead, so that `serve` starts at once and yet accepts nothing forged.
    """
    for file in starter_files():
        content = file.content
        if file.path == "config/clarihook.toml":
            assert SECRET_IN_STARTER in content, "the shipped settings name their secret"
            content = content.replace(SECRET_IN_STARTER, f'"file:{SECRET_FILE}"')
        yield file._replace(content=content)
    yield StarterFile(SECRET_FILE, secrets.token_hex(32) + "\n", 0o600)
    yield StarterFile(".gitignore", GITIGNORE, 0o644)


def _write(path: Path, file: StarterFile) -> None:
    """Write the file whole or not at all, never through a link, never wider than its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with open(os.open(temporary, flags, file.mode), "w", encoding="utf-8") as stream:  # noqa: PTH123
            stream.write(file.content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _next_steps(folder: Path, *, is_fresh: bool) -> Iterator[str]:
    yield ""
    yield f"{folder} is ready. Next:"
    if is_fresh:
        yield f"  1. Give clariBI the secret in {folder / SECRET_FILE}"
    else:
        yield "  1. Your settings were kept: see that they still name the secrets they need"
    yield f"  2. Set your API key and your channels in {folder / 'config/clarihook.toml'}"
    yield f"  3. clarihook config check --home {quote(str(folder))}"
    yield f"  4. clarihook serve --home {quote(str(folder))}"
