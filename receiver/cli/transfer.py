"""`clarihook events export` and `import`: events as lines of JSON, byte for byte."""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from receiver.cli.deployment import opened, store_of
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.records import event_record
from receiver.cli.selecting import SourceOption, TypeOption, event_filter
from receiver.cli.times import SinceOption, UntilOption
from receiver.errors import PayloadError, UsageError
from receiver.model import EventId, NewEvent, format_headers, parse_headers, to_ms
from receiver.payload import parse_object
from receiver.settings import Settings, load_settings
from receiver.store.base import EventFilter

_PAGE = 100
_ID = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)


def export(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Into this file; else standard output.")
    ] = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    home: HomeOption = HERE,
) -> None:
    """Write events as JSON, one per line, the oldest first: headers, exact body, all but history.

    Example: clarihook events export --since 7d --output week.jsonl
    """
    which = event_filter(type_, source, since, until)
    settings = load_settings(home, needs_secrets=False)
    with contextlib.ExitStack() as stack:
        file: BinaryIO = sys.stdout.buffer
        if output is not None:
            file = stack.enter_context(_create(output))
        count = asyncio.run(_export(settings, which, file))
        file.flush()
    if output is not None:
        print_line(f"exported {count} events to {output}")


def import_(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="What `events export` wrote; - is stdin.")
    ],
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Store exported events. Nothing runs for them: `clarihook replay` does that.

    Those that are stored already, by their id or as the same message, are left out, so that an
    import that was cut off is simply repeated.

    Example: clarihook events import week.jsonl --home other
    """
    settings = load_settings(home, needs_secrets=False)
    counts = asyncio.run(_import(settings, _read(file)))
    if as_json:
        print_json(counts)
    else:
        print_line(f"imported {counts['imported']} events, {counts['known']} were known")


def _create(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror}") from None


async def _export(settings: Settings, which: EventFilter, file: BinaryIO) -> int:
    count = 0
    async with opened(settings, "reader") as store:
        while page := await store.events(which, limit=_PAGE, newest=False):
            file.writelines(json.dumps(event_record(event)).encode() + b"\n" for event in page)
            count += len(page)
            which = replace(which, after=page[-1].id)
    return count


async def _import(settings: Settings, events: Iterator[Mapping[str, Any]]) -> dict[str, int]:
    from receiver.sources import build_sources  # noqa: PLC0415 - slow, and only this needs it

    sources = build_sources(settings)
    counts = {"imported": 0, "known": 0}
    store = store_of(settings, "guest", must_exist=False)
    await store.open()
    try:
        while page := list(islice(events, _PAGE)):
            news = [_new_event(fields, sources) for fields in page]
            known = {e.id for e in await store.events(_with_ids(news), limit=_PAGE)}
            fresh = [new for new in news if new.id not in known]
            recorded = await asyncio.gather(*[store.record(new, ()) for new in fresh])
            done = sum(not one.is_duplicate for one in recorded)
            counts["imported"] += done
            counts["known"] += len(page) - done
    finally:
        await store.close()
    return counts


def _with_ids(news: Iterable[NewEvent]) -> EventFilter:
    return EventFilter(ids=[new.id for new in news])


def _read(file: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """Each line's event; raises UsageError with the number of one that is none."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            fields["body"] = _body(fields)
            fields["received_ms"] = to_ms(datetime.fromisoformat(fields["received_at"]))
            fields["headers"] = format_headers([(name, value) for name, value in fields["headers"]])
            if not _ID.fullmatch(fields["id"]):
                raise ValueError(f"{fields['id']!r} is no event id")
            _ = (fields["source"] + fields["type"], fields["message_id"], fields["secret_index"])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"line {number} is no exported event: {error!r}") from None
        yield fields


def _body(fields: Mapping[str, Any]) -> bytes:
    if "body_base64" in fields:
        return base64.b64decode(fields["body_base64"], validate=True)
    return str(fields["body"]).encode()


def _new_event(fields: Mapping[str, Any], sources: Mapping[str, Any]) -> NewEvent:
    return NewEvent(
        EventId(fields["id"]),
        fields["source"],
        fields["type"],
        fields["received_ms"],
        fields["body"],
        fields["headers"],
        fields["message_id"],
        fields["secret_index"],
        _dedupe_key(fields, sources.get(fields["source"])),
    )


def _dedupe_key(fields: Mapping[str, Any], source: Any) -> bytes:
    """As ingress makes it, so that a webhook that comes once more is known; else the body's."""
    from receiver.sources import id_key  # noqa: PLC0415

    if source is not None:
        if fields["message_id"] is not None and source.trusts_message_id:
            return id_key(fields["message_id"].encode())
        pairs = parse_headers(fields["headers"])
        headers = {name.encode("latin-1"): value.encode("latin-1") for name, value in pairs}
        try:
            key: bytes = source.read_key(headers, fields["body"], parse_object(fields["body"]))
        except PayloadError:
            pass
        else:
            return key
    return hashlib.sha256(fields["body"]).digest()
