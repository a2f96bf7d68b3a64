"""`clarihook handlers new`: a handler to start from, and a test that passes."""

import json
import keyword
import re
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_warning
from receiver.errors import ConfigError, HandlerLoadError, UsageError
from receiver.settings import Settings, load_settings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

_HANDLER = '''\
"""{types}: say here what this does, and for whom."""

{imports}

CHANNEL = {channel}


@on({patterns})
async def handle(event: {model}, ctx: Context) -> None:
    ctx.notify(
        CHANNEL,
        title=f"{{ctx.event.type}} came",
        body={body},
    )
'''

_TEST = '''\
"""What handlers/{name}.py does. Run it with: pytest {test}"""

from pathlib import Path

from receiver.testing import load_handler, run_handler

HANDLER = load_handler({file})
TYPE = {type}
DATA = {data}


def test_it_tells_people():
    run = run_handler(HANDLER, TYPE, data=DATA)
    assert run.outcome == "succeeded", run.reason
    (message,) = run.messages
    assert (message.channel, message.title) == ({channel}, f"{{TYPE}} came")


def test_a_signed_webhook_is_handled(send_event):
    """The whole way, through a real receiver; the fixture comes with clarihook."""
    sent = send_event(TYPE, DATA)
    assert sent.states["{name}.handle"] == "succeeded"
'''


class Kind(NamedTuple):
    """What the handler is given."""

    model: str
    imports: str
    body: str
    """The expression of the message's text."""
    type: str
    """A type that the handler's patterns fit."""
    data: dict[str, object]
    """For a test."""


def new(
    name: Annotated[str, typer.Argument(help="The file's name, such as big_syncs.")],
    *,
    type_: Annotated[
        list[str],
        typer.Option("--type", metavar="PATTERN", help="The events that it handles: report.*"),
    ],
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Write handlers/NAME.py, a handler that works, and tests/test_NAME.py, which shows it.

    Nothing is overwritten. To run the test: pip install pytest; pytest tests/test_NAME.py

    Example: clarihook handlers new big_syncs --type data_source.sync_completed
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} can't be a handler file's name: use a to z, digits and _, and begin with a "
            "letter, such as big_syncs"
        )
    settings = _settings(home)
    folder = _folder(settings)
    handler = folder / f"{name}.py"
    test = settings.home / "tests" / f"test_{name}.py"
    for path in (handler, test):
        if path.exists():
            raise UsageError(f"{path} exists; choose another name, or remove it")
    kind = _kind(tuple(dict.fromkeys(type_)))
    channel = _literal(next(iter(settings.channels), "ops"))
    texts = {
        handler: _HANDLER.format(
            types=", ".join(type_), imports=kind.imports, channel=channel, model=kind.model,
            patterns=", ".join(map(_literal, dict.fromkeys(type_))), body=kind.body,
        ),
        test: _TEST.format(
            name=name, test=f"tests/test_{name}.py", channel=channel, type=_literal(kind.type),
            data=json.dumps(kind.data, indent=4), file=_file_expression(settings, handler),
        ),
    }  # fmt: skip
    for path, text in texts.items():
        _write(path, text)
    if as_json:
        print_json({"handler": f"{name}.handle", "file": str(handler), "test": str(test)})
        return
    for path in texts:
        print_line(f"  wrote  {path}", "green")
    print_line(f"try it:   clarihook handlers run {name}.handle --type {kind.type}")
    print_line(f"test it:  pytest {test}")


def _settings(home: Path) -> Settings:
    try:
        return load_settings(home, needs_secrets=False)
    except ConfigError:
        if (home / "config/clarihook.toml").exists():
            raise
        # Handlers may be written before there is a deployment.
        return Settings.from_dict({}, home=home)


def _folder(settings: Settings) -> Path:
    """The first folder of handlers; made if there is none."""
    for path in map(settings.path, settings.handlers.paths):
        if path.suffix != ".py":
            return path
    raise UsageError('handlers.paths names no folder; add one, such as "handlers"')


def _kind(patterns: tuple[str, ...]) -> Kind:
    from receiver.events import MODELS  # noqa: PLC0415 - slow
    from receiver.patterns import compile_patterns  # noqa: PLC0415
    from receiver.registry import on  # noqa: PLC0415
    from receiver.samples import SAMPLE_DATA, nearest_type  # noqa: PLC0415

    try:
        on(*patterns)
    except HandlerLoadError as error:
        raise UsageError(f"--type: {str(error).rpartition('@on: ')[2]}") from None
    for pattern in patterns:
        near = nearest_type(pattern)
        if "*" not in pattern and near is not None:
            print_warning(f"clariBI sends no {pattern}; did you mean {near}?")
    fits = compile_patterns(patterns)
    known = [event_type for event_type in MODELS if fits(event_type)]
    is_claribi = bool(known) and all(
        any(compile_patterns((pattern,))(each) for each in known) for pattern in patterns
    )
    if not is_claribi:
        return Kind(
            "dict[str, Any]",
            "import json\nfrom typing import Any\n\nfrom receiver import Context, on",
            'json.dumps(event.get("data", event), indent=2)',
            patterns[0].replace("*", "example"),
            {"id": 1},
        )
    model = MODELS[known[0]].__name__ if len(known) == 1 else "ClariBIEvent"
    imports = f"from receiver import Context, on\nfrom receiver.events import {model}"
    body = "event.data.model_dump_json(indent=2)"
    return Kind(model, imports, body, known[0], SAMPLE_DATA[known[0]])


def _file_expression(settings: Settings, handler: Path) -> str:
    """Where the handler is, as the test finds it from wherever it is run."""
    if handler.is_relative_to(settings.home):
        parts = handler.relative_to(settings.home).as_posix()
        return f"Path(__file__).parents[1] / {_literal(parts)}"
    return f"Path({_literal(str(handler))})"


def _literal(text: str) -> str:
    return json.dumps(text)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
