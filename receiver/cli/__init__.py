"""The `clarihook` command: its table of commands, and the way every one of them ends.

A command's module is imported when the command is run, so `clarihook --help` and `--version`
cost no more than this file.
"""

import errno
import inspect
import io
import os
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from receiver.errors import ClarihookError, ConfigError, HandlerLoadError, UsageError


class Entry(NamedTuple):
    """One line of the table of commands."""

    target: str
    """`module:attribute`: a function is a command, a `typer.Typer` is a group of commands."""
    help: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("receiver.cli.init:init", "Make a folder ready to serve."),
    "demo": Entry("receiver.cli.demo:demo", "Show it all at work, with no account."),
    "serve": Entry("receiver.cli.serve:serve", "Receive webhooks and run their handlers."),
    "work": Entry("receiver.cli.work:work", "Run deliveries in a process of its own."),
    "events": Entry("receiver.cli.events:app", "Look at what has come, and send samples."),
    "replay": Entry("receiver.cli.replay:app", "Run stored events through the handlers again."),
    "deliveries": Entry("receiver.cli.deliveries:app", "Look at deliveries, retry or discard."),
    "acknowledge": Entry(
        "receiver.cli.acknowledge:acknowledge", "Take care of an event: it escalates no further."
    ),
    "rejections": Entry("receiver.cli.rejections:app", "Look at requests that were refused."),
    "signature": Entry("receiver.cli.signature:app", "Find out why a signature is refused."),
    "handlers": Entry("receiver.cli.handlers:app", "List the handlers, and try one out."),
    "route": Entry("receiver.cli.route:route", "Explain what the settings say of an event."),
    "channels": Entry("receiver.cli.channels:app", "List the channels, and send a test."),
    "silence": Entry("receiver.cli.silence:app", "Keep messages back for a while."),
    "templates": Entry("receiver.cli.templates:app", "List the message templates, preview them."),
    "sandbox": Entry("receiver.cli.sandbox:sandbox", "Run a local stand-in for clariBI."),
    "claribi": Entry("receiver.cli.claribi:app", "Call the clariBI API."),
    "db": Entry("receiver.cli.db:app", "Look after the database: check, back up, prune."),
    "token": Entry("receiver.cli.token:app", "Say who may look into the console."),
    "doctor": Entry("receiver.cli.doctor:doctor", "Check everything, or try out a crash."),
    "config": Entry("receiver.cli.config:app", "Check and show the settings."),
}
"""Every command, in the order in which `clarihook --help` lists them."""


class CommandTable(TyperGroup):
    """The root: lists the table's commands without importing them, loads the one that is run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, entry in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=entry.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` begins with, loaded; a mistyped name gets a hint by typer."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, rest


_MEMORY_HINT = (
    "a server needs about 500 MiB of addresses: raise the limit (`ulimit -v`, `prlimit --as`, "
    "LimitAS=, the container's) and see whether the machine has it"
)
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def load_command(name: str) -> Any:
    """Import the command's module and make the command."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
        command.no_args_is_help = True
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(name)(target)
        command = typer.main.get_command(single)
    command.name = name
    _lay_out(command)
    return command


def _lay_out(command: Any) -> None:
    """Help as it was meant: paragraphs fill the terminal's width, and brackets are no markup."""
    from rich.markup import escape  # noqa: PLC0415 - not for --version, and help brings it anyway

    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = escape("\n\n".join(" ".join(each.split("\n")) for each in paragraphs))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    for inner in getattr(command, "commands", {}).values():
        _lay_out(inner)


app = typer.Typer(
    cls=CommandTable,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from receiver import __version__  # noqa: PLC0415 - only this option needs it

        typer.echo(f"clarihook {__version__}")
        raise typer.Exit


@app.callback()
def root(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            envvar="CLARIHOOK_HOME",
            help="The deployment's folder: config/, handlers/, data/. "
            "Default: the working directory. Every command takes it too.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Receive signed webhooks, store each one durably, handle it, tell people, replay it.

    Begin with: clarihook init my-hooks
    """


def script() -> None:
    """Run the command line, and end the process whatever its threads do."""
    try:
        main()
    except SystemExit as end:
        if any(each.daemon for each in threading.enumerate()):
            _leave(end.code)
        raise


def _leave(status: object) -> None:
    """End the process although a thread hangs, in a send or in a handler, without its consent.

    At the interpreter's own end a thread that comes back just then is unwound by the C library,
    through code that may not bear it: SIGABRT, `FATAL: exception not rethrown`.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def main() -> None:
    """Run the command line; exits with 0 done, 1 it failed, 2 usage, settings or handlers."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale may lack what data has
    try:
        typer.main.get_command(app)(prog_name="clarihook")
    except ClarihookError as error:
        _end(error, 2 if isinstance(error, ConfigError | UsageError | HandlerLoadError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if _is_of_the_memory(error):
            what = str(error) or "MemoryError"
            _end(f"there is not enough memory for this ({what})\n{_MEMORY_HINT}", 1)
        if os.environ.get("CLARIHOOK_DEBUG") == "1":
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            _end(f"what this writes can't be written: {error.strerror}", 1)
        hint = "this is a bug in clarihook; CLARIHOOK_DEBUG=1 shows where it happened"
        _end(f"{type(error).__name__}: {error}\n{hint}", 1)


def _is_of_the_memory(error: Exception) -> bool:
    """Whether the machine had no room: for an object, a thread's stack, or a library."""
    if isinstance(error, MemoryError) or "start new thread" in str(error):
        return True
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return True
    return isinstance(error, OSError) and error.errno == errno.ENOMEM


def _end(error: Exception | str, status: int) -> None:
    from receiver.cli.output import print_error  # noqa: PLC0415 - rich, only when it is needed

    print_error(error)
    sys.exit(status)
