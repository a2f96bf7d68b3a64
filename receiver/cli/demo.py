"""`clarihook demo`: everything at work, with no account and no settings."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from receiver.cli.output import print_line
from receiver.errors import ClarihookError


def _given_home(ctx: typer.Context, value: Path | None) -> Path | None:
    """The --home of the command line, before or after `demo`; never the one of CLARIHOOK_HOME,
    which is a real deployment.
    """
    root = ctx.find_root()
    source = root.get_parameter_source("home")
    before: Path | None = root.params.get("home")
    if value is None and source is not None and source.name == "COMMANDLINE":
        value = before
    return None if value is None else value.expanduser().absolute()


def demo(
    *,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            callback=_given_home,
            help="Run in this new folder, and keep it.",
            show_default="a temporary folder, removed at the end",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when each of the five events was shown.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="The pause between events.")
    ] = 3.0,
) -> None:
    """Show it all: signed webhooks arrive, are stored, handled, and messages go out.

    A sandbox stands in for clariBI. Nothing leaves this machine. Ctrl-C or SIGTERM ends it. The
    exit status is 0 if everything arrived, 1 if not.

    Example: clarihook demo --once
    """
    # Slow to import, and no other command needs it.
    from receiver.cli.init import starter_files  # noqa: PLC0415
    from receiver.demo import run  # noqa: PLC0415

    handlers = {
        file.path: file.content for file in starter_files() if file.path.startswith("handlers/")
    }
    asyncio.run(run(handlers, _say, home=home, once=once, every_seconds=every))


def _say(text: str = "", style: str = "") -> None:
    """Colours on a terminal, plain ASCII elsewhere."""
    if not sys.stdout.isatty():
        text = text.encode("ascii", "backslashreplace").decode()
    try:
        print_line(text, style)
    except SystemExit:  # rich's answer to a broken pipe, which would tear down the event loop
        raise ClarihookError("nobody reads what the demo says, so it has stopped") from None
