"""`clarihook rejections`: requests that were refused, and why."""

import asyncio
from typing import Annotated, Any

import typer

from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.records import body_fields
from receiver.cli.times import iso, shown
from receiver.errors import UsageError
from receiver.model import from_ms, parse_headers
from receiver.settings import Settings, load_settings
from receiver.store.base import Rejection

app = typer.Typer(help="Look at requests that were refused.")

_ALL = 1_000_000


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List refused requests, the newest first. Only the latest thousand are kept.

    Example: clarihook rejections list
    """
    found = asyncio.run(_latest(load_settings(home, needs_secrets=False), limit))
    if as_json:
        print_json({"rejections": [_summary(rejection) for rejection in found]})
        return
    print_table(
        ("id", "received", "source", "status", "bytes", "reason"),
        [
            (r.id, shown(from_ms(r.received_ms)), r.source, r.status, r.body_bytes, r.reason)
            for r in found
        ],
    )


@app.command()
def show(
    rejection_id: Annotated[int, typer.Argument(metavar="ID", help="Its number.")],
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show a refused request: its headers, and what was kept of its body.

    Example: clarihook rejections show 12
    """
    rejection = asyncio.run(find_rejection(load_settings(home, needs_secrets=False), rejection_id))
    if as_json:
        headers = [list(pair) for pair in parse_headers(rejection.headers)]
        print_json({**_summary(rejection), "headers": headers, **body_fields(rejection.body)})
        return
    print_line(f"rejection {rejection.id}: {rejection.status}, {rejection.reason}", "bold")
    print_line(f"  source       {rejection.source}")
    print_line(f"  received     {shown(from_ms(rejection.received_ms))}")
    print_line()
    print_line("headers", "bold")
    for name, value in parse_headers(rejection.headers):
        print_line(f"  {name}: {value}")
    print_line()
    kept, sent = len(rejection.body), rejection.body_bytes
    print_line(f"body, {sent} bytes" if kept == sent else f"body, {kept} of {sent} bytes", "bold")
    for line in rejection.body.decode(errors="backslashreplace").splitlines():
        print_line(f"  {line}")
    if rejection.status == 401:
        print_line(f"find out why: clarihook signature check {rejection.id}")


async def find_rejection(settings: Settings, number: int) -> Rejection:
    """The rejection of that number. Raises UsageError."""
    for rejection in await _latest(settings, _ALL):
        if rejection.id == number:
            return rejection
    raise UsageError(f"there is no rejection {number} (any more); see `clarihook rejections list`")


async def _latest(settings: Settings, limit: int) -> list[Rejection]:
    async with opened(settings, "reader") as store:
        return await store.rejections(limit=limit)


def _summary(rejection: Rejection) -> dict[str, Any]:
    return {
        "id": rejection.id,
        "received_at": iso(from_ms(rejection.received_ms)),
        "source": rejection.source,
        "status": rejection.status,
        "reason": rejection.reason,
        "bytes": rejection.body_bytes,
    }
