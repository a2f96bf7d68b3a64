"""`clarihook templates`: which message templates there are, and what they make of an event."""

import html
from pathlib import Path
from typing import Annotated, Any

import typer

from receiver.cli.given import (
    EventArgument,
    EventDataOption,
    data_of,
    stored_or_body,
)
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_error, print_json, print_line, print_table
from receiver.cli.template_samples import sample_event, sample_severity, sample_values
from receiver.errors import UsageError
from receiver.model import Event, MessageFormat, Severity
from receiver.settings import load_settings
from receiver.templates.library import SUFFIXES, Rendered, Templates

app = typer.Typer(help="List the message templates, and see what they make of an event.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The template's name.")]


@app.command("list")
def list_(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """List every template, its formats, and whether it is the deployment's own.

    Example: clarihook templates list
    """
    templates = _load(home)
    rows = [
        {
            "name": name,
            "formats": list(templates.files(name)),
            "origin": "own" if templates.is_own(name) else "shipped",
            "files": [str(path) for path in templates.files(name).values()],
        }
        for name in templates.names
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("template", "formats", "from"),
        [(row["name"], ", ".join(row["formats"]), row["origin"]) for row in rows],
    )


@app.command()
def show(name: NameArgument, *, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Print a template's files: a shipped one is a start for one of your own.

    Example: clarihook templates show data_source.sync_failed
    """
    templates = _load(home)
    files = templates.files(_known(templates, name))
    sources = {path.name: path.read_text("utf-8") for path in files.values()}
    if as_json:
        print_json(sources)
        return
    for file, source in sources.items():
        print_line(f"config/templates/{file}", "bold")
        print_line(source)


@app.command()
def render(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The template's name; else all.")
    ] = None,
    event: EventArgument = None,
    *,
    data: EventDataOption = None,
    severity: Annotated[
        Severity | None, typer.Option(help="The message's severity; else the usual one.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a file for each format there.")
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show what templates make of an event, or of a sample. Nothing is sent.

    A sample of a shipped template has what the shipped handler adds to the event, too. The exit
    status is 1 if a template fails.

    Example: clarihook templates render data_source.sync_failed

    Example: clarihook templates render my_template event.json

    Example: clarihook templates render --to preview
    """
    templates = _load(home)
    if name is None and (event is not None or data is not None):
        raise UsageError("name the template that is to be rendered")
    names = templates.names if name is None else (_known(templates, name),)
    made = {
        each: _render(templates, each, _event(home, each, event, data), event is None, severity)
        for each in names
    }
    if to is not None:
        _write(made, to)
    elif as_json:
        print_json([_record(each, rendered) for each, rendered in made.items()])
    else:
        for each, rendered in made.items():
            _print(each, rendered)
    failed = [note for rendered in made.values() for note in rendered.notes]
    for note in failed:
        print_error(note)
    if failed:
        raise typer.Exit(1)


def _load(home: Path) -> Templates:
    from receiver.wiring import load_templates  # noqa: PLC0415 - slow

    return load_templates(load_settings(home, needs_secrets=False))


def _known(templates: Templates, name: str) -> str:
    if name not in templates:
        raise UsageError(templates.hint(name))
    return name


def _event(home: Path, name: str, event: str | None, data: str | None) -> Event:
    """The event that is meant, or else a sample. Raises UsageError."""
    from receiver.testing.events import make_event  # noqa: PLC0415 - slow

    if event is None:
        return sample_event(name, None if data is None else data_of(name, data))
    if data is not None:
        raise UsageError("give either an event or --data")
    return make_event(stored_or_body(load_settings(home, needs_secrets=False), event))


def _render(
    templates: Templates, name: str, event: Event, is_sample: bool, severity: Severity | None
) -> Rendered:
    more = sample_values(name) if is_sample else {}
    try:
        return templates.render(name, event, severity or sample_severity(name), more)
    except ValueError as error:
        raise UsageError(f"the event's body is no JSON: {error}") from None


def _record(name: str, made: Rendered) -> dict[str, Any]:
    return {
        "name": name,
        "title": made.title,
        "bodies": dict(made.bodies),
        "problems": list(made.notes),
    }


def _print(name: str, made: Rendered) -> None:
    print_line(f"{name}: {made.title}", "bold")
    for format_, body in made.bodies.items():
        print_line(f"--- {format_}", "dim")
        print_line(body)
    print_line()


def _write(made: dict[str, Rendered], folder: Path) -> None:
    """A file for each template and format, as someone would look at it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rendered in made.items():
            for suffix, format_ in SUFFIXES.items():
                if format_ in rendered.bodies:
                    file = folder / f"{name}{suffix}"
                    file.write_text(_page(rendered, format_), "utf-8")
                    print_line(f"wrote {file}")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from None


def _page(made: Rendered, format_: MessageFormat) -> str:
    body = made.bodies[format_]
    if format_ == "html":
        title = html.escape(made.title)
        return f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n{body}\n'
    title = f"# {made.title}" if format_ == "markdown" else made.title
    return f"{title}\n\n{body}\n"
