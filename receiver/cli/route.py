"""`clarihook route`: what the settings would say of an event, rule by rule. Nothing is sent."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiver.cli.deployment import store_of
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
from receiver.cli.times import shown
from receiver.errors import PayloadError, UsageError
from receiver.model import INTERNAL_SOURCE, Event, Message, from_ms
from receiver.payload import parse_object
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint

if TYPE_CHECKING:
    from receiver.notify import Notifier
    from receiver.notify.routes import Verdict
    from receiver.notify.streaks import Told


def route(
    event: EventArgument = None,
    *,
    event_type: EventTypeOption = None,
    data: EventDataOption = None,
    source: Annotated[
        str | None, typer.Option(help="The source it would come from; the only one by default.")
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Explain which routes an event takes and why not the others, and show what they would say.

    It uses what a server uses, but nothing is sent and nothing is stored. Handlers are named, not
    run: `clarihook handlers run` does that.

    Example: clarihook route event.json

    Example: clarihook route --type billing.credits_low --data '{"remaining": 50}'
    """
    # Slow to import, and the command may end before it needs them.
    from receiver.engine import load_registry  # noqa: PLC0415
    from receiver.notify import Notifier  # noqa: PLC0415
    from receiver.notify.routes import RouteTable  # noqa: PLC0415
    from receiver.wiring import load_templates  # noqa: PLC0415

    settings = load_settings(home)
    given = _given(settings, event, event_type, data, source)
    verdicts = RouteTable(settings.routes, load_templates(settings)).explain(given)
    notifier = Notifier.from_settings(settings.channels, home=settings.home)
    handlers = [handler.name for handler in load_registry(settings).matching(given.type)]
    told = asyncio.run(_tell(settings, given, verdicts))
    document = {
        "event": {"type": given.type, "source": given.source},
        "handlers": handlers,
        "routes": [_row(verdict, notifier) for verdict in verdicts],
        "recoveries": [_said(message, notifier) for message in told.messages],
        "streaks": [*told.notes, *_streaks(told)],
    }
    if as_json:
        print_json(document)
    else:
        _print(document)


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


async def _tell(settings: Settings, event: Event, verdicts: "Sequence[Verdict]") -> "Told":
    """What the event would do to the streaks as they are now; nothing of it is kept."""
    from receiver.notify import routes  # noqa: PLC0415 - slow
    from receiver.notify.streaks import StreakTable  # noqa: PLC0415

    table = StreakTable(settings.routes)
    kept: dict[str, str | None] = dict.fromkeys(table.keys(event))
    store = store_of(settings, "reader", must_exist=False)
    if kept and store.path.exists():
        await store.open()
        try:
            kept = {key: await store.value(routes.NAME, key) for key in kept}
        finally:
            await store.close()
    return table.tell(event, [each.number for each in verdicts if each.refusal is None], kept)


def _streaks(told: "Told") -> list[str]:
    """What would be counted, in words."""
    from receiver.notify.streaks import Streak  # noqa: PLC0415 - slow

    found = [Streak.parse(text) for text in told.values.values() if text is not None]
    return [
        f"it would be failure {each.failures} in a row, since {shown(from_ms(each.since_ms))}"
        for each in found
    ]


def _said(message: Message, notifier: "Notifier") -> dict[str, Any]:
    return {
        "channel": message.channel,
        "severity": message.severity,
        "title": message.title,
        "body": message.body,
        "targets": list(notifier.targets(message.channel)),
    }


def _row(verdict: "Verdict", notifier: "Notifier") -> dict[str, Any]:
    settings = verdict.settings
    return {
        "number": verdict.number,
        "label": verdict.label,
        "name": settings.name,
        "continue": settings.goes_on,
        "match": settings.match,
        "source": settings.source,
        "when": settings.when,
        "takes": verdict.refusal is None,
        "why_not": verdict.refusal,
        "notes": list(verdict.notes),
        "messages": [_said(message, notifier) for message in verdict.messages],
        "forward": None
        if verdict.forward is None
        else {"target": verdict.forward.channel, "what": verdict.forward.body},
    }


def _print(document: dict[str, Any]) -> None:
    event = document["event"]
    print_line(f"{event['type']} from {event['source']}", "bold")
    print_line(f"handlers: {', '.join(document['handlers']) or 'none'}")
    if not document["routes"]:
        print_line("routes: none in the settings")
    for row in document["routes"]:
        when = f" when {row['when']}" if row["when"] else ""
        label = row["label"]
        if not row["takes"]:
            print_line(f"route {label}: {row['match']}{when}: no, {row['why_not']}", "dim")
            continue
        print_line(f"route {label}: {row['match']}{when}: yes", "green")
        for note in row["notes"]:
            print_line(f"  note: {note}", "yellow")
        if row["forward"] is not None:
            print_line(f"  {row['forward']['target']}: {row['forward']['what']}")
        _print_messages(row["messages"])
    for note in document["streaks"]:
        print_line(f"streak: {note}", "yellow")
    if document["recoveries"]:
        print_line("recovery:", "green")
        _print_messages(document["recoveries"])


def _print_messages(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        targets = ", ".join(message["targets"])
        print_line(f"  {message['channel']} ({targets}), {message['severity']}:")
        print_line(f"    {message['title']}", "bold")
        for line in message["body"].splitlines():
            print_line(f"    {line}")
