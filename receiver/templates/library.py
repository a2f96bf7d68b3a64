"""All templates of a deployment: the shipped ones, and what `config/templates/` puts over them.

A template's name is what a route or handler calls it by. It has up to three files: `NAME.txt`,
which is required and also sets the title, `NAME.md` and `NAME.html`. One whose name is an event
type is that type's default. A file whose name begins with `_` is a part for others to include.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import FunctionLoader, Template, TemplateError, TemplateSyntaxError
from jinja2.runtime import Context

from receiver.errors import ConfigError
from receiver.model import Event, MessageFormat, Severity
from receiver.templates import budget, markup
from receiver.templates.sandbox import Environment
from receiver.templates.values import values_of

SHIPPED = Path(__file__).parent / "shipped"
SUFFIXES: dict[str, MessageFormat] = {".txt": "text", ".md": "markdown", ".html": "html"}
MAX_FILE_BYTES = 256 * 1024
MAX_TITLE_CHARS = 250

_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NO_VALUES: Mapping[str, Any] = {}
_NO_TEMPLATE = frozenset({"README.md"})


class Rendered(NamedTuple):
    """What a template made of an event."""

    title: str
    """One line; empty if the template sets none."""
    bodies: Mapping[MessageFormat, str]
    """In every format that the template has and that did not fail; maybe none at all."""
    notes: tuple[str, ...]
    """What failed, with file, line and reason."""


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    path: Path
    source: str
    is_own: bool = field(default=False)
    """Whether it is the deployment's, not a shipped one."""


class Templates:
    """The templates by name. Files are read when it is made, each is compiled once."""

    def __init__(
        self, folder: Path | None = None, *, zone: tzinfo = UTC, public_url: str | None = None
    ) -> None:
        """`folder`: the deployment's own, which need not be there. `zone`: that of times.
        `public_url`: under which people see events, for links.

        Raises ConfigError with every fault of the deployment's files: file, line, what and why.
        """
        problems: list[str] = []
        files = {file.name: file for file in _read(SHIPPED, is_own=False, problems=problems)}
        if folder is not None and folder.is_dir():
            files |= {file.name: file for file in _read(folder, is_own=True, problems=problems)}
        self._files = files
        self._public_url = public_url
        loader = FunctionLoader(self._load)
        self._environments = {
            format_: Environment(format_, loader=loader, zone=zone) for format_ in SUFFIXES.values()
        }
        problems += self._find_faults()
        if problems:
            raise ConfigError(*problems)

    @property
    def names(self) -> tuple[str, ...]:
        """The templates that can be rendered, by name."""
        return tuple(sorted({
            _stem(name) for name in self._files
            if not name.startswith("_") and name.endswith(".txt")
        }))  # fmt: skip

    def __contains__(self, name: object) -> bool:
        return f"{name}.txt" in self._files

    def files(self, name: str) -> dict[MessageFormat, Path]:
        """The files of a template, by format."""
        return {
            format_: self._files[name + suffix].path
            for suffix, format_ in SUFFIXES.items()
            if name + suffix in self._files
        }

    def is_own(self, name: str) -> bool:
        """Whether a file of the template is the deployment's own."""
        return any(
            name + suffix in self._files and self._files[name + suffix].is_own
            for suffix in SUFFIXES
        )

    def render(
        self, name: str, event: Event, severity: Severity, more: Mapping[str, Any] = _NO_VALUES
    ) -> Rendered:
        """The title and every body of a template, for an event and with `more` values.

        Whatever a template does, this raises nothing. There has to be a template of the name, and
        the event's body has to be JSON.
        """
        title, notes = "", []
        bodies: dict[MessageFormat, str] = {}
        values = {**self.values(event, severity), **more}
        for suffix, format_ in SUFFIXES.items():
            file = name + suffix
            if file not in self._files:
                continue
            try:
                template = self._environments[format_].get_template(file)
                body, exported = _run(template, {"title": title, **values})
                if format_ == "text":
                    title = title_line(exported.get("title", ""))
            except Exception as error:  # it is somebody's program
                notes.append(f"template {self._place(file, error)}: {_reason(error)}")
            else:
                bodies[format_] = body
        return Rendered(title, bodies, tuple(notes))

    def inline(self, text: str) -> Template:
        """A text of the settings as a template, for `render_inline`. Raises TemplateError."""
        return self._environments["text"].from_string(text)

    def values(self, event: Event, severity: Severity) -> dict[str, Any]:
        """What every template can speak of. Raises ValueError for a body that is no JSON."""
        return values_of(event, severity, self._public_url)

    def hint(self, name: str) -> str:
        """What to say of a name that there is no template of."""
        near = difflib.get_close_matches(name, self.names, 1)
        there = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names)}"
        return f"no template {name!r}; {there} A new one is made by config/templates/{name}.txt"

    def _load(self, name: str) -> tuple[str, str, None] | None:
        # A name is looked up, never opened: no `../` leads anywhere.
        file = self._files.get(name)
        return None if file is None else (file.source, str(file.path), None)

    def _find_faults(self) -> Iterator[str]:
        """What is wrong with the deployment's own files; compiles them."""
        for name, file in self._files.items():
            if not file.is_own:
                continue
            stem, suffix = _stem(name), name[len(_stem(name)) :]
            if not name.startswith("_") and f"{stem}.txt" not in self._files:
                yield (
                    f"{file.path}: there is no {stem}.txt; write one, it has the title and is "
                    "sent where no other format fits"
                )
            environment = self._environments[SUFFIXES[suffix]]
            try:
                environment.get_template(name)
            except TemplateError as error:
                yield f"{file.path}:{getattr(error, 'lineno', 1)}: {_reason(error)}"
                continue
            for line, other in environment.references(file.source):
                if other not in self._files:
                    yield f"{file.path}:{line}: there is no template file {other!r}"

    def _place(self, file: str, error: Exception) -> str:
        """The file and line where it failed; of an included file, that one."""
        own = {str(each.path): name for name, each in self._files.items()}
        if isinstance(error, TemplateSyntaxError):
            return f"{error.name or file}:{error.lineno}"
        place, trace = file, error.__traceback__
        while trace is not None:
            path = trace.tb_frame.f_code.co_filename
            if path in own:
                place = f"{own[path]}:{trace.tb_lineno}"
            trace = trace.tb_next
        return place


def render_inline(template: Template, values: Mapping[str, Any]) -> str:
    """The text of an inline template. Raises whatever goes wrong in it."""
    return _run(template, values)[0]


def title_line(value: Any) -> str:
    """A title as one line of bounded length."""
    return " ".join(markup.drop_controls(str(value)).split())[:MAX_TITLE_CHARS]


def _run(template: Template, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A rendering's text, up to `MAX_CHARS`, and what the template sets."""
    token = budget.current.set(budget.Budget())
    try:
        context: Context = template.new_context(dict(values))
        pieces, room = [], budget.MAX_CHARS
        for piece in template.root_render_func(context):
            pieces.append(str(piece[:room]))
            room -= len(piece)
            if room <= 0:
                break
        # A table's first line may begin with blanks that count.
        return _BLANK_LINES.sub("", "".join(pieces)).rstrip(), context.get_exported()
    except Exception:
        template.environment.handle_exception()  # raises it again, with the template's own lines
    finally:
        budget.current.reset(token)


def _read(folder: Path, *, is_own: bool, problems: list[str]) -> Iterator[_File]:
    """The template files of a folder; what can't be one is a problem."""
    root = folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _NO_TEMPLATE or not path.is_file():
            continue
        stem = _stem(path.name)
        if path.name[len(stem) :] not in SUFFIXES or not _NAME.fullmatch(stem):
            problems.append(f"{path}: no template; they are named NAME.txt, NAME.md or NAME.html")
        elif root not in path.resolve().parents:
            problems.append(f"{path}: leads out of {folder}; put the file itself there")
        elif path.stat().st_size > MAX_FILE_BYTES:
            problems.append(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
        else:
            try:
                source = path.read_text("utf-8")
            except (OSError, UnicodeError) as error:
                problems.append(f"{path}: can't be read: {error}")
                continue
            yield _File(name=path.name, path=path, source=source, is_own=is_own)


def _stem(name: str) -> str:
    """The name without the suffix of its format: event types have dots too."""
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)


def _reason(error: Exception) -> str:
    return f"{getattr(error, 'message', None) or str(error) or type(error).__name__}"[:500]
