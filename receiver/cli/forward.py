"""`clarihook events forward`: what comes goes on to another address, while you look."""

import asyncio
from typing import Annotated

import typer

from receiver.cli.completing import one_of
from receiver.cli.options import HERE, HomeOption
from receiver.cli.secrets import resolve
from receiver.cli.selecting import SourceOption, TypeOption, event_filter, warn_of_mistyped
from receiver.cli.times import SinceOption
from receiver.errors import UsageError
from receiver.settings import Settings, load_settings
from receiver.signatures import PRESETS, Scheme, SchemeSpec, build_scheme


def forward(
    *,
    to: Annotated[str, typer.Option(metavar="URL", help="Where to: http://localhost:3000/hook")],
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    as_received: Annotated[
        bool, typer.Option("--as-received", help="With the headers as they came; not signed anew.")
    ] = False,
    secret: Annotated[
        str | None,
        typer.Option(help="Sign with this one: env:NAME, file:PATH or itself; else the source's."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="With --secret: how to sign; else as claribi.", autocompletion=one_of(*PRESETS)
        ),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Into a private network, too.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    home: HomeOption = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Post each event that comes to another address, and print each answer, until Ctrl-C.

    The exact bytes, one after the other, with their headers, signed anew by the source's scheme
    and first secret. Each is tried once: a target that is down, or says no, is told and the next
    one is sent. When it ends it says how to go on where it was: --since also sends what came
    while nobody forwarded. Nothing is recorded, and handlers run as ever.

    With --count, the exit status is 1 if an answer was no 2xx.

    Example: clarihook events forward --to http://localhost:3000/webhooks --type 'report.*'

    Example: clarihook events forward --to http://localhost:3000/webhooks --since 2h
    """
    # Slow to import: an HTTP client.
    from receiver.cli.forwarding import Forwarding  # noqa: PLC0415
    from receiver.cli.resend import Resend  # noqa: PLC0415

    if as_received and secret is not None:
        raise UsageError("--as-received keeps the signature that came; leave --secret out")
    if scheme is not None and secret is None:
        raise UsageError(f"--scheme {scheme} signs with --secret; give that too, or neither")
    settings = load_settings(home, needs_secrets=not as_received and secret is None)
    which = event_filter(type_, source, since or "now", None)
    warn_of_mistyped(settings, which)
    how = Resend(
        url=to,
        as_received=as_received,
        scheme=_scheme(settings, scheme or "claribi", secret),
        allow_private=allow_private,
        events_per_second=None,
        attempts=1,
    )
    run = Forwarding(settings, how, count, as_json=as_json)
    try:
        asyncio.run(run.run(which))
    except KeyboardInterrupt:
        run.print_end()
        return
    run.print_end()
    if run.summary.failed:
        raise typer.Exit(1)


def _scheme(settings: Settings, name: str, secret: str | None) -> Scheme | None:
    if secret is None:
        return None
    return build_scheme(SchemeSpec(scheme=name), [resolve("--secret", secret, settings.home)])
