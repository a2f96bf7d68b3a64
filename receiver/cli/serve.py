"""`clarihook serve`: the server, in one process or several."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiver.cli.options import HERE, HomeOption, NoReloadOption
from receiver.cli.running import ignore_hangups, run_to_the_end
from receiver.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from receiver.engine import Engine
    from receiver.reload import LoadSettings
    from receiver.server import ConsoleServer
    from receiver.settings import Settings


def serve(
    *,
    home: HomeOption = HERE,
    host: Annotated[
        str | None, typer.Option(help="Listen on this address, not on server.host.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Listen on this port; 0 takes a free one.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Use so many processes, not server.workers."),
    ] = None,
    console_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Serve the console on this port, not on console.port; 0: any."
        ),
    ] = None,
    no_dispatch: Annotated[
        bool,
        typer.Option("--no-dispatch", help="Only receive and store; `clarihook work` runs it all."),
    ] = False,
    no_reload: NoReloadOption = False,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    console_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    link_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Receive webhooks, run their handlers, send messages. Ctrl-C or SIGTERM stops it in order.

    Changed settings, templates and handlers are taken up at SIGHUP and when their files change,
    if they are valid; `reload.refused` in the log says why not.

    With several workers one more process watches over them, and replaces one that dies. A socket
    that systemd has opened (LISTEN_FDS) is used instead of --host and --port.

    Example: clarihook serve --home my-hooks --port 8000
    Example: clarihook serve --workers 4
    Example: clarihook serve --no-dispatch, and elsewhere: clarihook work
    """
    ignore_hangups()
    from receiver.settings import load_settings  # noqa: PLC0415 - slow to import

    given = {"host": host, "port": port, "workers": workers}
    given["reload"] = False if no_reload else None
    server = {name: value for name, value in given.items() if value is not None}
    overrides: dict[str, Any] = {"server": server} if server else {}
    if no_dispatch:
        overrides["dispatch"] = {"enabled": False}
    if console_port is not None:
        overrides["console"] = {"port": console_port}

    def load(more: Mapping[str, Any]) -> "Settings":
        return load_settings(home, overrides={**overrides, **more})

    settings = load({})
    if listen_fd is not None and link_fd is not None:
        console = None if console_fd is None else socket.socket(fileno=console_fd)
        sys.exit(_serve(settings, load, socket.socket(fileno=listen_fd), console, link_fd=link_fd))
    if settings.server.workers == 1:
        sys.exit(_serve(settings, load))
    command = [sys.executable, "-m", "receiver.cli", "serve", "--home", str(settings.home)]
    sys.exit(_supervise(settings, [*command, *(["--no-dispatch"] if no_dispatch else [])]))


def _serve(
    settings: "Settings",
    load: "LoadSettings",
    listener: socket.socket | None = None,
    console: socket.socket | None = None,
    *,
    link_fd: int | None = None,
) -> int:
    """Serve in this process, alone, or as the member of a supervisor that `link_fd` leads to."""
    # Slow to import, and no other command needs them.
    from receiver.app import create_app  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.reload import Reloader  # noqa: PLC0415
    from receiver.server import Server, run  # noqa: PLC0415
    from receiver.supervisor import Link  # noqa: PLC0415

    app = create_app(settings, role="owner" if link_fd is None else "worker")
    configure_logging(settings.log.level, settings.log.format, redact=app.engine.notifier.redactor)
    accepting = listener or _listen(settings)
    if link_fd is None:
        console = _listen_for_console(settings)

    def stop() -> None:
        server.handle_exit(signal.SIGTERM, None)

    drain_seconds = settings.server.drain_timeout.total_seconds()
    link = None if link_fd is None else Link(link_fd, on_end=stop, drain_seconds=drain_seconds)
    reloader = Reloader(app.engine, load)
    if link is not None:
        reloader.on_done, link.on_reload = link.say_reloaded, reloader.ask
    server = Server(
        app,
        drain_seconds=drain_seconds,
        read_timeout_seconds=settings.server.read_timeout.total_seconds(),
        on_ready=(lambda: _tell(settings, accepting, console)) if link is None else link.say_ready,
        console=None if console is None else _console_of(app.engine, console),
        reloader=reloader,
        # Of several processes the one that watches over the others watches the files too.
        watches_files=settings.server.reload and link is None,
    )
    return run_to_the_end(run(server, accepting))


def _supervise(settings: "Settings", command: list[str]) -> int:
    """Have several processes serve, and watch over them."""
    from receiver.file_watch import FileWatch, handler_paths  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.store.ownership import hold_database  # noqa: PLC0415
    from receiver.supervisor import SILENCE_SECONDS, Supervisor  # noqa: PLC0415

    if settings.sqlite_path is None:
        raise ConfigError("store.url: this version keeps its data in SQLite only")
    configure_logging(settings.log.level, settings.log.format)
    with hold_database(settings.sqlite_path):
        listener, console = _listen(settings), _listen_for_console(settings)
        # The handlers' folders are those of the start: the members alone know of others.
        watch = FileWatch(settings.home, lambda: handler_paths(settings))

        async def supervise() -> int:
            return await Supervisor(
                command,
                settings.server.workers,
                listener,
                console=console,
                drain_seconds=settings.server.drain_timeout.total_seconds(),
                silent_seconds=settings.dispatch.lease.total_seconds() + SILENCE_SECONDS,
                on_ready=lambda: _tell(settings, listener, console),
                watch=watch if settings.server.reload else None,
            ).run()

        # On asyncio's own loop: it starts processes more gently than uvloop does.
        return asyncio.run(supervise())


def _listen(settings: "Settings") -> socket.socket:
    """The socket that systemd has opened for this process, or one of the settings."""
    from receiver.server import inherited_listener, listen  # noqa: PLC0415

    host, port = settings.server.host, settings.server.port
    with _told(f"{host}:{port}", option="--port"):
        return inherited_listener() or listen(host, port)


def _listen_for_console(settings: "Settings") -> socket.socket | None:
    """The console's socket; None if there is to be no console."""
    from receiver.server import listen  # noqa: PLC0415

    host, port = settings.console.host, settings.console.port
    if port is None:
        return None
    with _told(f"{host}:{port} for the console", option="--console-port"):
        return listen(host, port)


@contextmanager
def _told(where: str, *, option: str) -> Iterator[None]:
    """Raises UsageError where nobody can listen."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"can't listen on {where}: {error.strerror}. Choose another with {option}, or stop "
            "what uses it."
        ) from None


def _console_of(engine: "Engine", listener: socket.socket) -> "ConsoleServer":
    # Most servers have none, and need the memory for events.
    from receiver.console.app import Console  # noqa: PLC0415
    from receiver.server import ConsoleServer  # noqa: PLC0415

    return ConsoleServer(Console(engine), listener)


def _tell(
    settings: "Settings", listener: socket.socket, console: socket.socket | None = None
) -> None:
    from receiver.server import address_of  # noqa: PLC0415

    if console is not None:
        typer.echo(
            f"the console is at {address_of(console)}/ (clarihook token create NAME)", err=True
        )
    names = ", ".join(settings.sources) or "no sources yet; add one to config/clarihook.toml"
    typer.echo(f"clarihook listens on {address_of(listener)}/hooks/ ({names})", err=True)
