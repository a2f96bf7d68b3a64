"""`clarihook work`: runs deliveries, receives nothing."""

import sys
from typing import Annotated, Any

import typer

from receiver.cli.options import HERE, HomeOption, NoReloadOption
from receiver.cli.running import ignore_hangups, run_to_the_end


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
    no_reload: NoReloadOption = False,
) -> None:
    """Run deliveries in a process of its own, beside `clarihook serve` or without it.

    Any number of these, and of servers' workers, share one database. A handler or target with
    limits of its own is run by one of them at a time, so that its limits hold for all together.
    Ctrl-C or SIGTERM stops it in order: what it can't finish is given back at once. Changed
    settings and handlers are taken up as by the server.

    Example: clarihook work
    Example: clarihook work --concurrency 8
    """
    ignore_hangups()
    # Slow to import, and no other command needs them.
    from receiver.engine import Engine, load_registry  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.reload import Reloader  # noqa: PLC0415
    from receiver.settings import load_settings  # noqa: PLC0415
    from receiver.store.configured import open_store  # noqa: PLC0415
    from receiver.worker import run  # noqa: PLC0415

    overrides: dict[str, Any] = {"dispatch": {"enabled": True}}
    if no_reload:
        overrides["server"] = {"reload": False}
    settings = load_settings(home, overrides=overrides)
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

    async def main() -> int:
        reloader = Reloader(
            engine, lambda more: load_settings(home, overrides={**overrides, **more})
        )
        return await run(engine, reloader, watches_files=settings.server.reload, on_ready=tell)

    sys.exit(run_to_the_end(main()))
