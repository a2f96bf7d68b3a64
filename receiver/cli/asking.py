"""Asking before something is done that can't be undone."""

import sys
from typing import Annotated

import typer

from receiver.errors import UsageError

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def confirm(what: str) -> None:
    """Ask on a terminal whether to do it; anywhere else raises UsageError: nobody can answer."""
    if not sys.stdin.isatty():
        raise UsageError(f"this would {what}; add --yes")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True)
