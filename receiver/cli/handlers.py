"""`clarihook handlers`: which there are, and what one of them does with an event."""

import json
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from receiver.cli.answers import api_answers, json_object
from receiver.cli.completing import handlers
from receiver.cli.deployment import find_handler
from receiver.cli.given import (
    EventArgument,
    EventDataOption,
    EventTypeOption,
    check_given,
    data_of,
    stored_or_body,
)
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_error, print_json, print_line, print_table
from receiver.cli.records import message_record
from receiver.cli.scaffold import new
from receiver.registry import Handler, Registry, load_handlers
from receiver.retry import Backoff, RetryPolicy
from receiver.settings import Settings, load_settings

app = typer.Typer(help="List the handlers, try one out, begin one.")


@app.command("list")
def list_(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """List every handler, with the file, the events and the limits that it has.

    The exit status is 1 if a file could not be loaded.

    Example: clarihook handlers list --json
    """
    settings = load_settings(home, needs_secrets=False)
    registry = _load(settings)
    rows = [_row(handler, settings) for handler in registry.handlers]
    if as_json:
        problems = [{"file": p.file, "problem": p.text} for p in registry.problems]
        print_json({"handlers": rows, "problems": problems})
    else:
        _print_handlers(rows)
        for problem in registry.problems:
            print_error(problem.text)
    if registry.problems:
        raise typer.Exit(1)


app.command()(new)


@app.command()
def run(
    name: Annotated[
        str,
        typer.Argument(help="The handler, as `handlers list` names it.", autocompletion=handlers),
    ],
    event: EventArgument = None,
    *,
    event_type: EventTypeOption = None,
    data: EventDataOption = None,
    answers: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(help='JSON: the API\'s answers, {"GET data-sources/1/": {…}, …}.'),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="JSON object: what ctx.store holds beforehand.")
    ] = None,
    attempt: Annotated[int, typer.Option(min=1, help="Which attempt this is.")] = 1,
    replaying: Annotated[bool, typer.Option("--replaying", help="As a replay does.")] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Run a handler once and show what it would say and keep. Nothing is sent, nothing is kept.

    The clariBI API is not called: it answers from --answers, and without that it counts as not
    configured. The exit status is 1 if the handler does not succeed.

    Example: clarihook handlers run report_generated.announce evt_01980d06a800

    Example: clarihook handlers run report_generated.announce --type report.generated
    """
    # Brings the API client, which `list` does not need.
    from receiver.observe import configure_logging  # noqa: PLC0415
    from receiver.testing import run_handler  # noqa: PLC0415

    settings = load_settings(home)
    handler = find_handler(_load(settings), name)
    check_given(event, event_type)
    given = stored_or_body(settings, event) if event is not None else event_type or ""
    configure_logging(settings.log.level, settings.log.format)
    result = run_handler(
        handler,
        given,
        data=data_of(event_type or "", data),
        claribi=api_answers(answers.read()) if answers else None,
        store=json_object("--store", store) if store is not None else None,
        channels=settings.channels,
        attempt=attempt,
        replaying=replaying,
    )
    shown = {
        "outcome": result.outcome,
        "reason": result.reason,
        "messages": [
            {
                **message_record(message),
                "attachments": [attachment.name for attachment in message.attachments],
            }
            for message in result.messages
        ],
        "values": dict(result.values),
        "api_calls": [str(call) for call in result.api_calls],
    }
    if as_json:
        print_json(shown)
    else:
        _print_run(shown)
    if result.outcome not in ("succeeded", "skipped"):
        if result.outcome == "failed" and result.error is not None:
            print_error(_trace(result.error, handler.file))
        raise typer.Exit(1)


def _load(settings: Settings) -> Registry:
    """All handlers, the disabled ones too; what is broken is among the problems."""
    paths = [settings.path(path) for path in settings.handlers.paths]
    return load_handlers(paths, plugins=settings.handlers.plugins, on_error="skip")


def _row(handler: Handler, settings: Settings) -> dict[str, Any]:
    """A handler with its limits as they are in force."""
    dispatch = settings.dispatch
    policy = handler.retry.over(dispatch.retry.over(RetryPolicy()))
    waits = policy.waits
    return {
        "name": handler.name,
        "patterns": list(handler.patterns),
        "enabled": handler.name not in settings.handlers.disabled,
        "attempts": policy.attempts,
        "timeout_seconds": handler.timeout_seconds or dispatch.timeout.total_seconds(),
        "key": handler.key,
        "on_retry": handler.on_retry,
        "concurrency": handler.concurrency,
        "rate": None if handler.rate is None else str(handler.rate),
        "schedule_seconds": None if isinstance(waits, Backoff) else list(waits),
        "backoff": asdict(waits) if isinstance(waits, Backoff) else None,
        "jitter": policy.jitter,
        "max_age_seconds": policy.max_age_seconds,
        "final": [e.__name__ if isinstance(e, type) else e for e in policy.final],
        "file": _relative(handler.file, settings.home),
        "line": handler.line,
    }


def _relative(file: str, home: Path) -> str:
    path = Path(file)
    return str(path.relative_to(home)) if path.is_relative_to(home) else file


def _print_handlers(rows: list[dict[str, Any]]) -> None:
    print_table(
        ("handler", "events", "attempts", "timeout", "key", "file", ""),
        [
            (
                row["name"],
                ", ".join(row["patterns"]),
                row["attempts"],
                f"{row['timeout_seconds']:g} s",
                row["key"],
                f"{row['file']}:{row['line']}",
                None if row["enabled"] else "disabled",
            )
            for row in rows
        ],
    )


def _print_run(shown: dict[str, Any]) -> None:
    reason = f": {shown['reason']}" if shown["reason"] else ""
    is_good = shown["outcome"] in ("succeeded", "skipped")
    print_line(f"{shown['outcome']}{reason}", "bold green" if is_good else "bold red")
    for call in shown["api_calls"]:
        print_line(f"api call  {call}")
    for message in shown["messages"]:
        print_line(f"message   to {message['channel']}, {message['severity']}: {message['title']}")
        for line in message["body"].splitlines():
            print_line(f"          {line}")
    for key, value in shown["values"].items():
        print_line(f"store     {key} = {json.dumps(value)}")


def _trace(error: BaseException, file: str) -> str:
    """The traceback from the handler's own frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != file:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
