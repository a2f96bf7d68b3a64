"""`clarihook silence`: keep messages back for a while, and let them go."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from receiver.cli.authors import os_user
from receiver.cli.completing import channels as channel_names
from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.selecting import SourceOption, TypeOption, warn_of_mistyped
from receiver.cli.times import iso, parse_moment, shown
from receiver.durations import parse_duration
from receiver.errors import UsageError
from receiver.model import INTERNAL_SOURCE, Severity, Silence, to_ms
from receiver.settings import Settings, load_settings
from receiver.settings.checks import parse_cel
from receiver.settings.problems import name_hint
from receiver.store.base import EventFilter

app = typer.Typer(help="Keep messages back for a while, and let them go.")

_MAX_TEXT_CHARS = 1000

AuthorOption = Annotated[
    str | None,
    typer.Option("--author", help="Who says so.", show_default="the user of the system"),
]


@app.command()
def add(
    *,
    event_type: TypeOption = None,
    source: SourceOption = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel", metavar="PATTERN", help="To this channel.", autocompletion=channel_names
        ),
    ] = None,
    severity: Annotated[
        list[Severity] | None, typer.Option("--severity", help="Of just this severity.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CEL",
            help='About events for which this is true: "event.data.id==4".',
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Every message there is, with no condition.")
    ] = False,
    span: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="For how long: 30m, 2h, 1d12h.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Until then, in ISO 8601: 2026-11-23T15:04."),
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="Why, for the others.")],
    author: AuthorOption = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Keep back the messages that all the conditions fit; several values of one are alternatives.

    A running server obeys at once. What is kept back is held, not lost: it goes out when the
    silence ends, several messages to one target as one digest. Handlers run, and forwards go out.

    Example: clarihook silence add --type 'data_source.*' --channel ops --for 2h --comment migration

    Example: clarihook silence add --where 'event.data.data_source_id == 4' --until 2030-01-01
    --comment "is being replaced"
    """
    settings = load_settings(home, needs_secrets=False)
    now = datetime.now().astimezone()
    silence = Silence(
        created_at=now,
        until=_end(now, span, until),
        author=_text("--author", os_user() if author is None else author),
        comment=_text("--comment", comment),
        types=tuple(event_type or ()),
        sources=tuple(source or ()),
        channels=tuple(channel or ()),
        severities=tuple(dict.fromkeys(severity or ())),
        where=where,
    )
    _check(settings, silence, everything=everything)
    silence = asyncio.run(_add(settings, silence))
    if as_json:
        print_json(_record(silence, 0, now))
        return
    print_line(f"silence {silence.id} holds {_conditions(silence)} until {shown(silence.until)}")
    print_line(f"let it go before: clarihook silence end {silence.id}")


@app.command("list")
def list_(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List the silences, the newest first, and how many messages each holds now.

    A message counts once for each of its targets.

    Example: clarihook silence list
    """
    settings = load_settings(home, needs_secrets=False)
    now = datetime.now().astimezone()
    silences, held = asyncio.run(_find(settings, None if every else to_ms(now)))
    records = [_record(silence, held.get(silence.id, 0), now) for silence in silences]
    if as_json:
        print_json({"silences": records})
    elif not silences:
        print_line("there is none" if every else "there is none now; --all has those that are over")
    else:
        print_table(
            ("id", "state", "ends", "holds", "messages", "by", "comment"),
            [
                (s.id, record["state"], shown(s.ends_at), record["holds"], _conditions(s),
                 s.author, s.comment)
                for s, record in zip(silences, records, strict=True)
            ],
        )  # fmt: skip


@app.command()
def end(
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number.")],
    *,
    author: AuthorOption = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """End a silence now, and let go what it holds, unless something else holds it too.

    Example: clarihook silence end 3
    """
    settings = load_settings(home, needs_secrets=False)
    by = _text("--author", os_user() if author is None else author)
    now = datetime.now().astimezone()
    silence, released = asyncio.run(_end_now(settings, number, by, now))
    if as_json:
        print_json({**_record(silence, 0, now), "released": released or 0})
    elif released is None:
        print_line(f"silence {number} was over already, since {shown(silence.ends_at)}")
    else:
        what = "1 message" if released == 1 else f"{released} messages"
        print_line(f"silence {number} has ended; it held {what}")


def _end(now: datetime, span: str | None, until: str | None) -> datetime:
    """When it is to end. Raises UsageError."""
    if (span is None) == (until is None):
        raise UsageError("say for how long: either --for 2h or --until 2026-11-23T15:04")
    if span is not None:
        try:
            end = now + parse_duration(span)
        except (ValueError, OverflowError):
            raise UsageError(f"--for: {span!r} is no span; write 30m, 2h, 1d12h") from None
    else:
        assert until is not None, "one of the two is there"
        try:
            end = parse_moment(until, now)
        except ValueError:
            raise UsageError(f"--until: {until!r} is no time; write 2026-11-23T15:04") from None
    if end - now < timedelta(seconds=1):
        # A span counts backwards here, as with all --until.
        hint = f"; did you mean --for {until}?" if until is not None and _is_span(until) else ""
        option = f"--for {span}" if span is not None else f"--until {until}"
        raise UsageError(f"{option} is over already: that is {shown(end)}{hint}")
    return end


def _is_span(text: str) -> bool:
    try:
        return parse_duration(text) > timedelta(0)
    except ValueError:
        return False


def _text(option: str, text: str) -> str:
    """The text, checked. Raises UsageError."""
    text = " ".join(text.split())
    if not text:
        raise UsageError(f"{option} is empty; the others will want to know")
    if len(text) > _MAX_TEXT_CHARS:
        raise UsageError(f"{option} has {len(text)} characters; {_MAX_TEXT_CHARS} is the most")
    return text


def _check(settings: Settings, silence: Silence, *, everything: bool) -> None:
    """Raises UsageError for what can't be meant; warns of what probably is not."""
    has_condition = silence.where is not None or any(
        (silence.types, silence.sources, silence.channels, silence.severities)
    )
    if not has_condition and not everything:
        raise UsageError(
            "say which messages: --type, --source, --channel, --severity, --where; --everything "
            "for all of them"
        )
    if has_condition and everything:
        raise UsageError("--everything goes with no other condition")
    for name in silence.channels:
        if "*" not in name and name not in settings.channels:
            hint = name_hint(name, settings.channels)
            raise UsageError(f'--channel: there is no channel "{name}"; {hint}')
    for name in silence.sources:
        if "*" not in name and name not in settings.sources and name != INTERNAL_SOURCE:
            hint = name_hint(name, settings.sources)
            raise UsageError(f'--source: there is no source "{name}"; {hint}')
    if silence.where is not None:
        try:
            parse_cel(silence.where)
        except ValueError as error:
            raise UsageError(f"--where {error}") from None
    warn_of_mistyped(settings, EventFilter(types=silence.types))


async def _add(settings: Settings, silence: Silence) -> Silence:
    async with opened(settings, "guest") as store:
        number = await store.add_silence(silence)
        (kept,) = (each for each in await store.silences() if each.id == number)
        return kept


async def _find(settings: Settings, active_ms: int | None) -> tuple[list[Silence], dict[int, int]]:
    async with opened(settings, "reader") as store:
        return await store.silences(active_ms=active_ms), await store.held_by_silences()


async def _end_now(
    settings: Settings, number: int, by: str, now: datetime
) -> tuple[Silence, int | None]:
    async with opened(settings, "guest") as store:
        released = await store.end_silence(number, by=by, now_ms=to_ms(now))
        for silence in await store.silences():
            if silence.id == number:
                return silence, released
    raise UsageError(f"there is no silence {number}; see `clarihook silence list --all`")


def _conditions(silence: Silence) -> str:
    """What it keeps back, in words.

    >>> _conditions(Silence(created_at=datetime.min, until=datetime.max, author="", comment="",
    ...                     types=("a.*", "b"), severities=(Severity.INFO,)))
    'type a.* or b, severity info'
    """
    named = (
        ("type", silence.types),
        ("source", silence.sources),
        ("channel", silence.channels),
        ("severity", silence.severities),
    )
    parts = [f"{name} {' or '.join(values)}" for name, values in named if values]
    if silence.where is not None:
        parts.append(f"where {silence.where}")
    return ", ".join(parts) or "everything"


def _record(silence: Silence, holds: int, now: datetime) -> dict[str, Any]:
    if silence.ends_at > now:
        state = "active"
    else:
        state = "expired" if silence.ended_at is None else "ended"
    return {
        "id": silence.id,
        "state": state,
        "created_at": iso(silence.created_at),
        "until": iso(silence.until),
        "author": silence.author,
        "comment": silence.comment,
        "types": list(silence.types),
        "sources": list(silence.sources),
        "channels": list(silence.channels),
        "severities": list(silence.severities),
        "where": silence.where,
        "ended_at": None if silence.ended_at is None else iso(silence.ended_at),
        "ended_by": silence.ended_by,
        "holds": holds,
    }
