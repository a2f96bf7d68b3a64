"""The forms in which events leave: each a writer of pages of events into a binary file."""

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from receiver import __version__
from receiver.cli.records import body_fields, event_record, event_summary
from receiver.cli.times import iso
from receiver.errors import UsageError
from receiver.model import Event, to_ms

CSV_COLUMNS = (
    "id", "received_at", "source", "type", "bytes", "message_id", "secret_index", "duplicates",
    "headers", "body", "body_encoding",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""With one of these a spreadsheet takes a cell for a formula, or for text with an apostrophe that
is not meant: then there are two, and to drop the first gives the text back."""


class Writer(Protocol):
    """Takes the events in pages; `close` writes what comes at the end."""

    def write(self, events: Sequence[Event]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON document per line: everything, byte for byte."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, events: Sequence[Event]) -> None:
        self._file.writelines(json.dumps(event_record(e)).encode() + b"\n" for e in events)

    def close(self) -> None:
        pass


class Csv:
    """A table for spreadsheets, in which no cell is a formula; not for `events import`."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text)
        self._rows.writerow(CSV_COLUMNS)

    def write(self, events: Sequence[Event]) -> None:
        self._rows.writerows([_harmless(cell) for cell in _cells(event)] for event in events)

    def close(self) -> None:
        self._text.detach()  # the file is not ours to close


def _cells(event: Event) -> list[Any]:
    body = body_fields(event.body)
    return [
        *event_summary(event).values(),
        json.dumps([list(pair) for pair in event.headers]),
        *body.values(),
        "text" if "body" in body else "base64",
    ]


def _harmless(cell: Any) -> Any:
    """The cell, as text even to a spreadsheet.

    >>> _harmless('=HYPERLINK("http://evil")'), _harmless("plain"), _harmless(-1)
    ('\\'=HYPERLINK("http://evil")', 'plain', -1)
    """
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA)
    return f"'{cell}" if is_formula else cell


class Parquet:
    """A table for DuckDB, pandas and the like, with the exact bytes of bodies. Needs pyarrow."""

    def __init__(self, file: BinaryIO) -> None:
        self._arrow, parquet = import_pyarrow("--format parquet")
        header = [("name", self._arrow.string()), ("value", self._arrow.string())]
        self._schema = self._arrow.schema(
            [
                ("id", self._arrow.string()),
                ("received_at", self._arrow.timestamp("ms", tz="UTC")),
                ("source", self._arrow.string()),
                ("type", self._arrow.string()),
                ("message_id", self._arrow.string()),
                ("secret_index", self._arrow.int32()),
                ("duplicates", self._arrow.int64()),
                ("headers", self._arrow.list_(self._arrow.struct(header))),
                ("body", self._arrow.binary()),
            ]
        )
        self._parquet = parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, events: Sequence[Event]) -> None:
        rows = [
            {
                "id": event.id,
                "received_at": to_ms(event.received_at),
                "source": event.source,
                "type": event.type,
                "message_id": event.message_id,
                "secret_index": event.secret_index,
                "duplicates": event.duplicates,
                "headers": [{"name": name, "value": value} for name, value in event.headers],
                "body": event.body,
            }
            for event in events
        ]
        self._parquet.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))

    def close(self) -> None:
        self._parquet.close()


class Har:
    """An HTTP archive, which browsers' developer tools and HTTP clients open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._between = b"\n"
        creator = json.dumps({"name": "clarihook", "version": __version__})
        file.write(f'{{"log": {{"version": "1.2", "creator": {creator}, "entries": ['.encode())

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            self._file.write(self._between + json.dumps(_har_entry(event)).encode())
            self._between = b",\n"

    def close(self) -> None:
        self._file.write(b"\n]}}\n")


def _har_entry(event: Event) -> dict[str, Any]:
    headers = dict(event.headers)
    body = body_fields(event.body)
    answer = json.dumps({"id": event.id, "duplicate": False})
    content_type = headers.get("content-type", "application/json")
    return {
        "startedDateTime": iso(event.received_at),
        "time": 0,
        "request": {
            "method": "POST",
            "url": f"http://{headers.get('host', '127.0.0.1')}/hooks/{event.source}",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [{"name": name, "value": value} for name, value in event.headers],
            "queryString": [],
            "postData": {
                "mimeType": content_type,
                "text": body.get("body") or base64.b64encode(event.body).decode(),
                **({} if "body" in body else {"encoding": "base64"}),
            },
            "headersSize": -1,
            "bodySize": len(event.body),
        },
        "response": {
            "status": 202,
            "statusText": "Accepted",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"size": len(answer), "mimeType": "application/json", "text": answer},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": len(answer),
        },
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
        "_clarihook": event_summary(event),
    }


FORMATS: Mapping[str, Callable[[BinaryIO], Writer]] = {
    "jsonl": JsonLines,
    "csv": Csv,
    "parquet": Parquet,
    "har": Har,
}


def import_pyarrow(what: str) -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`. Raises UsageError if it is not installed."""
    try:
        import pyarrow  # noqa: PLC0415 - large, and an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            f"{what} needs pyarrow; install it with: pip install 'clarihook[parquet]'"
        ) from None
    return pyarrow, parquet
