"""What these commands take from the command line and from files."""

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from claribi import Pages
from claribi.models import Listed
from receiver.errors import UsageError

ItemT = TypeVar("ItemT", bound=Listed)

SearchOption = Annotated[str | None, typer.Option(help="Search names and descriptions.")]
OrderingOption = Annotated[
    str | None, typer.Option(metavar="FIELD", help="Sort by it; -created_at: newest first.")
]
LimitOption = Annotated[int, typer.Option(min=1, help="Show so many at most.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the end of it.")]
TimeoutOption = Annotated[float, typer.Option(min=0, help="Wait for so many seconds at most.")]


def options_of(search: str | None, ordering: str | None, limit: int) -> Any:
    """The list options that were given."""
    given: dict[str, Any] = {"search": search, "ordering": ordering}
    return {"page_size": min(limit, 100)} | {k: v for k, v in given.items() if v is not None}


def take(pages: Pages[ItemT], limit: int) -> list[ItemT]:
    """The first `limit` items; fetches no more pages than they need."""
    return list(islice(pages, limit))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for `-`; raises UsageError.

    A file, because a password on the command line would stand in the list of processes.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        value = json.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} must hold a JSON object, like {{}}")
    return value


def read_pairs(pairs: Sequence[str] | None) -> dict[str, str]:
    """`name=value` texts as a dict; raises UsageError."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{pair!r} must be NAME=VALUE")
        found[name] = value
    return found


def confirm_deletion(what: str, *, yes: bool) -> None:
    """Asks on the terminal unless `yes`; ends the command (status 1) if the answer is no."""
    if yes:
        return
    try:
        is_sure = typer.confirm(f"Delete {what}? It can't be undone.", err=True)
    except typer.Abort:
        raise UsageError(f"nobody answered; to delete {what} without a question: --yes") from None
    if not is_sure:
        raise typer.Exit(1)
