"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

HERE = Path()


def _inherit_home(ctx: typer.Context, value: Path) -> Path:
    """The home given after the command's name, or before it, or the working directory."""
    source = ctx.get_parameter_source("home")
    given_before: Path | None = ctx.find_root().params.get("home")
    if given_before is not None and (source is None or source.name != "COMMANDLINE"):
        value = given_before
    return value.expanduser()


HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        metavar="DIR",
        callback=_inherit_home,
        help="The deployment's folder; CLARIHOOK_HOME sets it too.",
        show_default="the working directory",
    ),
]
"""`home: HomeOption = HERE` gives a command its --home; the value is ready to be used."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
"""`as_json: JsonOption = False`."""

NoReloadOption = Annotated[
    bool,
    typer.Option("--no-reload", help="Take up changed files at SIGHUP only, not by themselves."),
]
"""`no_reload: NoReloadOption = False`."""
