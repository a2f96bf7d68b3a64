"""`clarihook rejections`: requests that were refused, why, and accepting them after the fact."""

import asyncio
from typing import Annotated, Any

import typer

from receiver.cli.asking import YesOption, confirm
from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.records import body_fields
from receiver.cli.selecting import SourceOption, warn_of_mistyped
from receiver.cli.times import SinceOption, UntilOption, iso, shown, span_ms
from receiver.errors import UsageError
from receiver.model import from_ms, parse_headers
from receiver.settings import Settings, load_settings
from receiver.store.base import EventFilter, Rejection, RejectionFilter

app = typer.Typer(help="Look at requests that were refused; accept them after the fact.")

StatusOption = Annotated[
    list[int] | None, typer.Option("--status", help="Answered with this status, such as 401.")
]

_ALL = 1_000_000


@app.command("list")
def list_(
    *,
    source: SourceOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List refused requests, the newest first. [rejections] in the settings says how many are kept.

    Example: clarihook rejections list --status 401 --since 2h
    """
    which = _filter(None, source, status, since, until)
    settings = load_settings(home, needs_secrets=False)
    found = asyncio.run(_find(settings, which, limit))
    if not found:
        warn_of_mistyped(settings, EventFilter(sources=source or ()))
    if as_json:
        print_json({"rejections": [_summary(rejection) for rejection in found]})
        return
    print_table(
        ("id", "received", "source", "status", "bytes", "reason"),
        [
            (r.id, shown(from_ms(r.received_ms)), r.source, r.status, r.body_bytes, _reason(r))
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
    print_line(f"rejection {rejection.id}: {rejection.status}, {_reason(rejection)}", "bold")
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


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="Their numbers.")] = None,
    *,
    source: SourceOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which would be accepted now.")
    ] = False,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Accept refused requests after the fact, once the settings have been put right.

    Each is checked with the settings of today, its signature's time against when it came. What
    verifies is stored as an event with its deliveries, exactly as if it had come now; a running
    server takes them up, else the next `clarihook serve` does. What was known is not run again.
    The exit status is 1 if one that was named is still refused, or if all are.

    Example: clarihook rejections replay 12

    Example: clarihook rejections replay --source claribi --since 2h --dry-run
    """
    if not (ids or source or status or since or until):
        raise UsageError("say which: their numbers, --source, --status, --since, --until")
    settings = load_settings(home)
    which = _filter(ids, source, status, since, until)
    found = asyncio.run(_find(settings, which, _ALL))
    missing = sorted(set(ids or ()) - {rejection.id for rejection in found})
    if missing:
        raise UsageError(_no_such(missing[0]))
    if not ids:
        found = [each for each in found if each.event_id is None]
        if not found:
            warn_of_mistyped(settings, EventFilter(sources=source or ()))
        if len(found) > 1 and not (yes or dry_run):
            confirm(f"try to accept {len(found)} requests")
    results = asyncio.run(_replay(settings, found[::-1], dry_run=dry_run))  # the oldest first
    if as_json:
        print_json({"rejections": results})
    else:
        _print_results(results, dry_run=dry_run)
    refused = sum(result["outcome"] == "refused" for result in results)
    if refused and (ids or refused == len(results)):
        raise typer.Exit(1)


async def find_rejection(settings: Settings, number: int) -> Rejection:
    """The rejection of that number. Raises UsageError."""
    for rejection in await _find(settings, RejectionFilter(ids=[number]), 1):
        return rejection
    raise UsageError(_no_such(number))


def _no_such(number: int) -> str:
    return f"there is no rejection {number} (any more); see `clarihook rejections list`"


def _filter(
    ids: list[int] | None,
    sources: list[str] | None,
    statuses: list[int] | None,
    since: str | None,
    until: str | None,
) -> RejectionFilter:
    since_ms, until_ms = span_ms(since, until)
    return RejectionFilter(
        ids=ids or (),
        sources=sources or (),
        statuses=statuses or (),
        since_ms=since_ms,
        until_ms=until_ms,
    )


async def _find(settings: Settings, which: RejectionFilter, limit: int) -> list[Rejection]:
    async with opened(settings, "reader") as store:
        return await store.rejections(which, limit=limit)


async def _replay(
    settings: Settings, found: list[Rejection], *, dry_run: bool
) -> list[dict[str, Any]]:
    # Slow to import: the deployment's handlers say which deliveries an event becomes.
    from receiver.cli.deployment import store_of  # noqa: PLC0415
    from receiver.cli.reconsider import Refused, reconsider  # noqa: PLC0415
    from receiver.dispatch.intake import DispatchIntake  # noqa: PLC0415
    from receiver.engine import Engine, load_registry  # noqa: PLC0415
    from receiver.sources import build_sources  # noqa: PLC0415

    sources = build_sources(settings)
    store = store_of(settings, "reader" if dry_run else "guest")
    engine = Engine(settings, store, load_registry(settings))
    intake = DispatchIntake(store, engine.planner, None, engine.dispatcher.backlog)
    results: list[dict[str, Any]] = []
    await store.open()
    try:
        for rejection in found:
            result: dict[str, Any] = {"id": rejection.id, "event_id": None, "reason": None}
            try:
                accepted = await reconsider(rejection, sources, None if dry_run else intake)
            except Refused as refusal:
                results.append({**result, "outcome": "refused", "reason": str(refusal)})
                continue
            if accepted.event_id is not None:
                await store.accept_rejection(rejection.id, accepted.event_id)
            outcome = "known" if accepted.is_duplicate else "accepted"
            results.append({**result, "outcome": outcome, "event_id": accepted.event_id})
    finally:
        await store.close()
    return results


def _print_results(results: list[dict[str, Any]], *, dry_run: bool) -> None:
    styles = {"accepted": "green", "known": "yellow", "refused": "red"}
    for result in results:
        word = "would be accepted" if dry_run and result["outcome"] == "accepted" else None
        text = result["reason"] or result["event_id"] or ""
        line = f"{result['id']}  {word or result['outcome']}  {text}".rstrip()
        print_line(line, styles[result["outcome"]])
    if not results:
        print_line("there is none")


def _reason(rejection: Rejection) -> str:
    """Why, and what has become of it."""
    if rejection.event_id is None:
        return rejection.reason
    return f"{rejection.reason}; accepted later as {rejection.event_id}"


def _summary(rejection: Rejection) -> dict[str, Any]:
    return {
        "id": rejection.id,
        "received_at": iso(from_ms(rejection.received_ms)),
        "source": rejection.source,
        "status": rejection.status,
        "reason": rejection.reason,
        "bytes": rejection.body_bytes,
        "event_id": rejection.event_id,
    }
