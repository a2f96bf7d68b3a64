"""`clarihook work`: runs deliveries, receives nothing."""

import sys
from typing import Annotated

import typer

from receiver.cli.options import HERE, HomeOption
from receiver.cli.running import run_to_the_end


def work(
    *,
    home: HomeOption = HERE,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Run at most N deliveries at a time; unset, each handler has its own limit.",
        ),
    ] = None,
) -> None:
    """Run deliveries in a process of its own, beside `clarihook serve` or without it.

    Any number of these, and of servers' workers, share one database. A handler or target with
    limits of its own is run by one of them at a time, so that its limits hold for all together.
    Ctrl-C or SIGTERM stops it in order: what it can't finish is given back at once.

    Example: clarihook work
    Example: clarihook work --concurrency 8
    """
    # Slow to import, and no other command needs them.
    from receiver.engine import Engine, load_registry, open_store  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.settings import load_settings  # noqa: PLC0415
    from receiver.worker import run  # noqa: PLC0415

    settings = load_settings(home, overrides={"dispatch": {"enabled": True}})
    engine = Engine(
        settings,
        open_store(settings, role="worker"),
        load_registry(settings),
        max_running=concurrency,
    )
    configure_logging(settings.log.level, settings.log.format, redact=engine.notifier.redactor)

    def tell() -> None:
        count = len(engine.registry.handlers)
        typer.echo(f"clarihook works on {settings.sqlite_path} ({count} handlers)", err=True)

    sys.exit(run_to_the_end(run(engine, on_ready=tell)))
