"""`clarihook serve`: the server."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from receiver.cli.options import HERE, HomeOption
from receiver.errors import UsageError

_END_SECONDS = 0.5


def serve(
    home: HomeOption = HERE,
    host: Annotated[
        str | None, typer.Option(help="Listen on this address, not on server.host.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Listen on this port; 0 takes a free one.")
    ] = None,
) -> None:
    """Receive webhooks, run their handlers, send messages. Ctrl-C or SIGTERM stops it in order.

    Example: clarihook serve --home my-hooks --port 8000
    """
    # Slow to import, and no other command needs them.
    from receiver.app import create_app  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.server import Server, address_of, listen, run  # noqa: PLC0415
    from receiver.settings import load_settings  # noqa: PLC0415

    server_overrides = {"host": host, "port": port}
    overrides = {name: value for name, value in server_overrides.items() if value is not None}
    settings = load_settings(home, overrides={"server": overrides} if overrides else None)
    app = create_app(settings)
    configure_logging(settings.log.level, settings.log.format, redact=app.engine.notifier.redactor)
    try:
        listener = listen(settings.server.host, settings.server.port)
    except OSError as error:
        raise UsageError(
            f"can't listen on {settings.server.host}:{settings.server.port}: {error.strerror}. "
            "Choose another with --port, or stop what uses it."
        ) from None

    def tell() -> None:
        names = ", ".join(settings.sources) or "no sources yet; add one to config/clarihook.toml"
        typer.echo(f"clarihook listens on {address_of(listener)}/hooks/ ({names})", err=True)

    server = Server(
        app,
        drain_seconds=settings.server.drain_timeout.total_seconds(),
        read_timeout_seconds=settings.server.read_timeout.total_seconds(),
        on_ready=tell,
    )
    status = _run(_serve(run(server, listener)))
    sys.exit(status)


async def _serve(main: Coroutine[Any, Any, int]) -> int:
    status = await main
    # All is stored and closed. What does not end by itself now, such as the thread of a handler
    # that hangs, may not keep the process.
    last_resort = threading.Timer(_END_SECONDS, os._exit, (status,))
    last_resort.daemon = True
    last_resort.start()
    return status


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
