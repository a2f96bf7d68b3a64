"""`clarihook route`: what the settings would say of an event, rule by rule. Nothing is sent."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from receiver.cli.cases import CASES_FILE, check_cases, read_cases
from receiver.cli.dry_run import dry_run
from receiver.cli.given import (
    EventArgument,
    EventDataOption,
    EventTypeOption,
    check_given,
    data_of,
    stored_or_body,
)
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.times import TIME_FORMS, iso, moment_ms
from receiver.errors import PayloadError, UsageError
from receiver.model import INTERNAL_SOURCE, Event, from_ms, to_ms
from receiver.payload import parse_object
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint


def route(
    event: EventArgument = None,
    *,
    event_type: EventTypeOption = None,
    data: EventDataOption = None,
    source: Annotated[
        str | None, typer.Option(help="The source it would come from; the only one by default.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"As if it came then: {TIME_FORMS}.")
    ] = None,
    cases: Annotated[
        bool,
        typer.Option(
            "--cases", help=f"Check what must be sent where: EVENT is a file, else {CASES_FILE}."
        ),
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Explain which routes an event takes and why not the others, and show what each target gets.

    It uses what a server uses, silences and quiet hours too, but nothing is sent and nothing is
    stored. Handlers are named, not run: `clarihook handlers run` does that.

    With --cases it checks a file of expectations, for CI. The exit status is 1 if one is not met,
    2 if the file is wrong.

    Example: clarihook route event.json

    Example: clarihook route --type billing.credits_low --data '{"remaining": 50}'

    Example: clarihook route --type data_source.sync_failed --at 2026-11-23T03:00Z

    Example: clarihook route --cases config/cases.toml
    """
    settings = load_settings(home)
    if cases:
        if any(given is not None for given in (event_type, data, source, at)):
            raise UsageError("--cases takes its events from the file; leave out the other options")
        path = settings.path(CASES_FILE) if event is None else Path(event)
        if not asyncio.run(_check(settings, path, as_json=as_json)):
            raise typer.Exit(1)
        return
    given = _given(settings, event, event_type, data, source)
    now_ms = moment_ms("--at", at)
    if now_ms is not None:
        given = replace(given, received_at=from_ms(now_ms))
    document = asyncio.run(_explain(settings, given, now_ms or to_ms(datetime.now(UTC))))
    if as_json:
        print_json(document)
    else:
        _print(document)


async def _explain(settings: Settings, event: Event, now_ms: int) -> dict[str, Any]:
    async with dry_run(settings) as dry:
        handlers = dry.wiring.registry.matching(event.type)
        foretold = await dry.foretell(event, now_ms)
        return {
            "event": {
                "type": event.type,
                "source": event.source,
                "received_at": iso(event.received_at),
            },
            "handlers": [handler.name for handler in handlers],
            "routes": [dry.row(ruling) for ruling in foretold.rulings],
            "recoveries": dry.said(foretold.recoveries),
            "streaks": list(foretold.streaks),
        }


async def _check(settings: Settings, path: Path, *, as_json: bool) -> bool:
    file = read_cases(path)
    async with dry_run(settings) as dry:
        results = await check_cases(dry, file)
        records = [result.record(dry) for result in results]
    failed = [record for record in records if not record["passed"]]
    if as_json:
        print_json({"file": str(path), "failed": len(failed), "cases": records})
        return not failed
    for record in failed:
        print_line(f"{path}:{record['line']}: {record['name']}", "red")
        for failure in record["failures"]:
            print_line(f"  {failure}")
        for row in record["routes"]:
            _print_route(row)
        if not record["routes"]:
            print_line("  no route is for such an event")
    passed = len(records) - len(failed)
    print_line(f"{passed} of {len(records)} cases passed", "red" if failed else "green")
    return not failed


def _given(
    settings: Settings, event: str | None, event_type: str | None, data: str | None,
    source: str | None,
) -> Event:  # fmt: skip
    """The event that the command line means. Raises UsageError."""
    from receiver.testing.events import make_event  # noqa: PLC0415 - slow

    check_given(event, event_type)
    if event is None:
        assert event_type is not None, "one of the two is there"
        made = make_event(event_type, data_of(event_type, data))
        return replace(made, source=_source(settings, source))
    if data is not None:
        raise UsageError("--data goes with --type")
    given = stored_or_body(settings, event)
    if isinstance(given, Event):
        return given if source is None else replace(given, source=_source(settings, source))
    try:
        parse_object(given)
    except PayloadError as error:
        raise UsageError(f"{event} holds no event: {error}") from None
    return replace(make_event(given), source=_source(settings, source))


def _source(settings: Settings, name: str | None) -> str:
    if name is None:
        return next(iter(settings.sources)) if len(settings.sources) == 1 else "claribi"
    if name not in settings.sources and name != INTERNAL_SOURCE:
        raise UsageError(f'there is no source "{name}"; {name_hint(name, settings.sources)}')
    return name


def _print(document: dict[str, Any]) -> None:
    event = document["event"]
    print_line(f"{event['type']} from {event['source']}", "bold")
    print_line(f"handlers: {', '.join(document['handlers']) or 'none'}")
    if not document["routes"]:
        print_line("routes: none in the settings")
    for row in document["routes"]:
        _print_route(row)
    for note in document["streaks"]:
        print_line(f"streak: {note}", "yellow")
    if document["recoveries"]:
        print_line("recovery:", "green")
    for message in document["recoveries"]:
        _print_message(message)


def _print_route(row: dict[str, Any]) -> None:
    when = f" when {row['when']}" if row["when"] else ""
    label = row["label"]
    if not row["takes"]:
        print_line(f"route {label}: {row['match']}{when}: no, {row['why_not']}", "dim")
        return
    print_line(f"route {label}: {row['match']}{when}: yes", "green")
    for note in row["notes"]:
        print_line(f"  note: {note}", "yellow")
    if row["forward"] is not None:
        print_line(f"  {row['forward']['target']}: {row['forward']['what']}")
    for message in row["messages"]:
        _print_message(message)


def _print_message(message: dict[str, Any]) -> None:
    """Targets that get the same text and fate are named together."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for target in message["targets"]:
        held = target["held"] or {}
        # An escalation goes to other channels than the message itself.
        channel = target["target"].partition("/")[0]
        key = (channel, target["title"], target["body"], target["format"], *held.values())
        alike.setdefault(key, []).append(target["target"])
    for (channel, title, body, format_, *held), names in alike.items():
        print_line(f"  {channel} ({', '.join(names)}), {message['severity']}, {format_}:")
        if held:
            print_line(f"    {_fate(*held)}", "yellow")
        print_line(f"    {title}", "bold")
        for line in body.splitlines():
            print_line(f"    {line}")
    if message["fallback"] is not None:
        print_line(f"  if a target is dead for it: to {message['fallback']}", "dim")


def _fate(kind: str, reason: str, until: str | None, wait_seconds: float | None) -> str:
    if kind == "throttle":
        return f"sent, but held when {reason}"
    if until is not None:
        return f"held until {until}: {reason}"
    wait = "" if wait_seconds is None else f", {wait_seconds:g} s from the first one"
    return f"held: {reason}{wait}"
