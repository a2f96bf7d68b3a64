"""`clarihook events export` and `import`: events out of one deployment and into another."""

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from receiver.cli.completing import one_of
from receiver.cli.deployment import opened, store_of
from receiver.cli.export_formats import FORMATS, import_pyarrow
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line
from receiver.cli.progress import OnProgress, progress_bar
from receiver.cli.selecting import SourceOption, TypeOption, event_filter
from receiver.cli.times import SinceOption, UntilOption
from receiver.errors import PayloadError, UsageError
from receiver.model import EventId, NewEvent, format_headers, parse_headers, to_ms
from receiver.payload import parse_object
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint
from receiver.store.base import EventFilter

_PAGE = 100
_HeaderText = Annotated[str, Field(pattern=r"\A[\x00-\x09\x0b\x0c\x0e-\xff]*\z")]
"""Latin-1, as the store keeps headers, on one line."""
_ID = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)


class _Exported(BaseModel):
    """What a line has to have, beside its body and whatever else it has."""

    id: str
    received_at: AwareDatetime
    source: Annotated[str, Field(min_length=1)]
    type: Annotated[str, Field(min_length=1)]
    message_id: str | None
    secret_index: Annotated[int, Field(ge=0, lt=2**31)] | None
    headers: list[tuple[_HeaderText, _HeaderText]]
    duplicates: Annotated[int, Field(ge=0, lt=2**63)] = 0


def export(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Into this file; else standard output.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="jsonl, csv, parquet or har; else by the file's name, or jsonl.",
            autocompletion=one_of(*FORMATS),
        ),
    ] = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    home: HomeOption = HERE,
) -> None:
    """Write events, the oldest first: headers, exact body, all but what became of them.

    jsonl (one JSON document per line) and parquet (needs pyarrow) keep every byte, and `events
    import` reads them. csv is for spreadsheets: text that one would take for a formula gets an
    apostrophe. har is for HTTP tools. The file appears when it is whole.

    Example: clarihook events export --since 7d --output week.jsonl

    Example: clarihook events export --type 'billing.*' --output credits.csv
    """
    which = event_filter(type_, source, since, until)
    name = format_ or (output.suffix.removeprefix(".") if output is not None else "jsonl")
    if name not in FORMATS:
        if format_ is not None:
            raise UsageError(f"--format {format_}: {name_hint(format_, FORMATS)}")
        name = "jsonl"
    settings = load_settings(home, needs_secrets=False)
    if output is None:
        asyncio.run(_export(settings, which, name, sys.stdout.buffer, lambda *_: None))
        sys.stdout.buffer.flush()
        return
    with _whole_file(output) as file, progress_bar("exporting") as on_progress:
        count = asyncio.run(_export(settings, which, name, file, on_progress))
    print_line(f"exported {count} events to {output}")


def import_(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="What `events export` wrote; - is stdin.")
    ],
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Store exported events, jsonl or parquet. Nothing runs for them: `clarihook replay` does that.

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


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name once it is complete. Raises UsageError if it can't be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


async def _export(
    settings: Settings, which: EventFilter, name: str, file: BinaryIO, on_progress: OnProgress
) -> int:
    count = 0
    async with opened(settings, "reader") as store:
        total = await store.count_events(which)
        writer = FORMATS[name](file)
        while page := await store.events(which, limit=_PAGE, newest=False):
            writer.write(page)
            count += len(page)
            on_progress(count, max(count, total))
            which = replace(which, after=page[-1].id)
        writer.close()
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


def _read(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """Each event; raises UsageError with the number of a line that is none."""
    start = file.peek(4)[:4] if isinstance(file, io.BufferedReader) else b""
    rows = _parquet_rows(file) if start == b"PAR1" else _json_rows(file)
    for number, read in rows:
        try:
            fields = read()
            event = _Exported.model_validate(fields)
            fields["body"] = _body(fields)
            fields["received_ms"] = to_ms(event.received_at)
            fields["headers"] = format_headers(event.headers)
            fields["duplicates"] = event.duplicates
            _check_id(event.id, fields["received_ms"])
        except (ValueError, KeyError) as error:
            raise UsageError(f"line {number} is no exported event: {_fault(error)}") from None
        yield fields


def _fault(error: ValueError | KeyError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else "it is no JSON object"
    if isinstance(error, UnicodeError):
        return "it has text that is no UTF-8"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _json_rows(file: BinaryIO) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    for number, line in enumerate(file, 1):
        if number == 1 and line.startswith(b"id,received_at,"):
            raise UsageError(
                "this is a CSV, which is for spreadsheets; import what `events export` writes as "
                "jsonl or parquet"
            )
        if line.strip():
            yield number, partial(json.loads, line)


def _parquet_rows(file: BinaryIO) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    arrow, parquet = import_pyarrow("reading parquet")
    # A pipe can't be read from its end, where a Parquet file begins.
    source = file if file.seekable() else io.BytesIO(file.read())
    number = 0
    try:
        for batch in parquet.ParquetFile(source).iter_batches(batch_size=_PAGE):
            for row in batch.to_pylist():
                number += 1
                yield number, partial(_from_parquet, row)
    except arrow.ArrowException as error:
        raise UsageError(f"the Parquet file can't be read: {error}") from None


def _from_parquet(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "received_at": row["received_at"].isoformat(),
        "headers": [(pair["name"], pair["value"]) for pair in row["headers"]],
    }


def _check_id(event_id: str, received_ms: int) -> None:
    """An id says when its event came: a range of time is found as a range of ids."""
    if not _ID.fullmatch(event_id):
        raise ValueError(f"{event_id!r} is no event id")
    if int(event_id[4:16], 16) != received_ms:
        raise ValueError(f"{event_id} did not come at received_at")


def _body(fields: Mapping[str, Any]) -> bytes:
    if "body_base64" in fields:
        return base64.b64decode(fields["body_base64"], validate=True)
    body = fields["body"]
    if not isinstance(body, str | bytes):
        raise ValueError("body: no text")
    return body if isinstance(body, bytes) else body.encode()


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
        fields["duplicates"],
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
