"""`clarihook sandbox`: a local stand-in for clariBI, to develop and try things against."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.options import HERE, HomeOption
from receiver.cli.output import print_line, print_table, print_warning
from receiver.errors import UsageError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from claribi.sandbox import Sandbox, Signer

DRAIN_SECONDS = 3
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def sandbox(
    *,
    home: HomeOption = HERE,
    host: Annotated[str, typer.Option(help="Listen on this address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Listen on this port; 0 takes a free one.")
    ] = 8010,
    webhook_url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Send webhooks there; may be given several times."),
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET", help="Signs the webhooks: env:NAME or file:PATH. Default: printed."
        ),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="How webhooks are signed: claribi, standard, github, stripe, …")
    ] = "claribi",
    speed: Annotated[float, typer.Option(help="At 10, the 45 seconds of a sync take 4.5.")] = 10.0,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the state there, from one run to the next."),
    ] = None,
) -> None:
    """Run a local clariBI: its REST API with seeded data, and webhooks that it signs and sends.

    Nothing in it is real. Its users, passwords and keys are printed at start and the same
    everywhere, and /sandbox/ lets anybody who reaches it change everything, so keep it local.

    Example: clarihook sandbox --webhook-url http://127.0.0.1:8000/hooks/claribi
    """
    # Slow to import, and no other command needs them.
    from claribi.sandbox import StateFileError, create_app  # noqa: PLC0415
    from receiver.server import address_of, listen  # noqa: PLC0415

    urls = [_http_url(url) for url in webhook_url or ()]
    secret = _secret(webhook_secret, home)
    signer = _signer(scheme, secret)
    if speed <= 0:
        raise UsageError(f"--speed {speed:g} would never end a sync; give a number above 0")
    try:
        app = create_app(
            speed=speed,
            webhook_urls=urls,
            webhook_secret=secret,
            signer=signer,
            state_path=state and home / state.expanduser(),
        )
    except StateFileError as error:
        raise UsageError(f"--state: {error}") from None
    try:
        listener = listen(host, port)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}:{port}: {error.strerror}. "
            "Choose another with --port, or stop what uses it."
        ) from None
    if host not in LOOPBACK:
        print_warning(f"{host} is not the loopback: whoever reaches it can change everything")
    _introduce(app.state.sandbox, address_of(listener), scheme)
    _serve(app, listener)


def _serve(app: "Starlette", listener: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM; what is under way then goes on when the same state runs again."""
    import uvicorn  # noqa: PLC0415

    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    # uvicorn raises a signal again once everything has stopped; the default for SIGTERM would
    # end the process by it, as if it had been killed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    except KeyboardInterrupt:
        print_line("stopped")


def _introduce(sandbox: "Sandbox", origin: str, scheme: str) -> None:
    users = {user.id: user for user in sandbox.users}
    print_line(f"The clariBI sandbox is at {origin}/api/", "bold green")
    print_line(f"  its OpenAPI document: {origin}/openapi.json")
    print_line(f"  to shape it, see docs/sandbox.md: {origin}/sandbox/")
    print_line()
    print_table(
        ("API key", "acts as"),
        [
            (key.key, f"{users[key.user_id].role}{', read-only' if key.read_only else ''}")
            for key in sandbox.api_keys
        ],
    )
    print_line()
    print_table(
        ("login", "password", "role", "TOTP secret"),
        [
            (user.email, user.password, user.role, user.totp_secret)
            for user in sandbox.users
            if user.password
        ],
    )
    print_line()
    for webhook in sandbox.state.webhooks.values():
        how = "unsigned" if scheme == "none" else f"signed as {scheme}"
        print_line(f"Webhooks go to {webhook.url}, {how}")
    print_line(f"Webhook secret, where none was given: {sandbox.webhook_secret}")
    print_line(f"Work is done {sandbox.world.clock.speed:g} times as fast. Ctrl-C ends it.")


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--webhook-url {url}: it has to begin with http:// or https://")
    return url


def _secret(text: str | None, home: Path) -> str:
    """The secret itself. Raises UsageError if there is nothing where it should be."""
    from claribi.sandbox import Sandbox  # noqa: PLC0415
    from receiver.cli.secrets import resolve  # noqa: PLC0415

    return Sandbox.webhook_secret if text is None else resolve("--webhook-secret", text, home)


def _signer(scheme: str, secret: str) -> "Signer | None":
    """Signs as any scheme but the sandbox's own. Raises ConfigError for a secret that is no use."""
    from receiver.signatures import SchemeSpec, build_scheme  # noqa: PLC0415

    built = build_scheme(SchemeSpec(scheme=scheme), [] if scheme == "none" else [secret])

    def sign(body: bytes, message_id: str, now: float) -> list[tuple[str, str]]:
        return built.sign(body, message_id=message_id, now=now)

    return None if scheme == "claribi" else sign
