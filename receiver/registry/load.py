"""Finding handlers: in folders of files, and in installed packages that were allowed by name."""

import difflib
import hashlib
import importlib.metadata
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from receiver.errors import HandlerLoadError
from receiver.model import stand_in_name
from receiver.registry.decorator import MARK
from receiver.registry.handler import Handler, make_handlers

ENTRY_POINT_GROUP = "clarihook.handlers"
_PACKAGE = "_clarihook_handlers_"
"""How the names of the packages begin that folders of handlers become."""

_Functions = Callable[[], list[Callable[..., Any]]]
"""Loads one file or plugin; returns its functions that have an `@on`."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A file or plugin that could not be loaded, with `on_error = "skip"`."""

    file: str
    """The file's path; for a plugin, its entry point's name."""
    prefix: str
    """What the names of its handlers begin with: deliveries of `<prefix>.…` have no handler."""
    text: str
    """The cause, with the traceback where there is one."""

    @property
    def stand_in(self) -> str:
        """The name of the deliveries that keep events for the file: `<prefix>.*`, no handler's.

        Nobody knows what a broken file's handlers are and which events are for them, so there is
        one of each event, and it is sorted out once the file is mended.
        """
        return stand_in_name(self.prefix)


class Registry:
    """All handlers of a deployment, in order of file and line."""

    def __init__(
        self,
        handlers: Iterable[Handler] = (),
        problems: Iterable[Problem] = (),
        loaded: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.handlers = tuple(handlers)
        self.problems = tuple(problems)
        self._loaded = loaded or {}
        """By prefix, the names of the handlers of each file and plugin that was loaded."""
        self._by_name = {handler.name: handler for handler in self.handlers}
        # Bounded, because event types come from outside.
        self.matching = lru_cache(maxsize=1024)(self._find_matching)
        """`matching(event_type)`: the handlers that the type is for, in order."""

    def get(self, name: str) -> Handler | None:
        """The handler of that name."""
        return self._by_name.get(name)

    def problem_of(self, name: str) -> Problem | None:
        """Why there is no such handler: the problem of the file that it should have come from."""
        return next((p for p in self.problems if name.startswith(f"{p.prefix}.")), None)

    def stood_in_for(self) -> dict[str, tuple[Handler, ...]]:
        """The handlers that each stand-in was for, of the files that can be loaded (again)."""
        broken = {problem.prefix for problem in self.problems}
        return {
            stand_in_name(prefix): tuple(each for each in self.handlers if each.name in names)
            for prefix, names in self._loaded.items()
            if prefix not in broken
        }

    def without(self, names: Collection[str]) -> "Registry":
        """The same registry with some handlers turned off; HandlerLoadError if one is unknown."""
        for name in names:
            if name not in self._by_name and self.problem_of(name) is None:
                near = difflib.get_close_matches(name, self._by_name, 1)
                hint = f"did you mean {near[0]!r}?" if near else "see `clarihook handlers list`"
                raise HandlerLoadError(f"disabled: there is no handler {name!r}; {hint}")
        kept = (handler for handler in self.handlers if handler.name not in names)
        return Registry(kept, self.problems, self._loaded)

    def _find_matching(self, event_type: str) -> tuple[Handler, ...]:
        return tuple(handler for handler in self.handlers if handler.matches(event_type))


def load_handlers(
    paths: Sequence[str | Path],
    *,
    plugins: Sequence[str] = (),
    on_error: Literal["stop", "skip"] = "stop",
) -> Registry:
    """Load every handler of the folders (or files) and of the allowed plugins.

    A folder's `*.py` files are loaded in order of name, afresh each time, except those that
    begin with `_`: these are for what its handlers share (`from ._shared import …`). A plugin is
    the name of an entry point in the group `clarihook.handlers`; none is loaded unasked.

    Raises HandlerLoadError with path and cause; with `on_error="skip"` that file's handlers are
    left out and the cause is in `Registry.problems`.
    """
    handlers: dict[str, Handler] = {}
    problems: list[Problem] = []
    loaded: dict[str, set[str]] = {}
    for prefix, file, load in _sources(paths, plugins):
        try:
            found = [handler for func in load() for handler in make_handlers(func, prefix)]
            _refuse_second_names(found, handlers)
        except HandlerLoadError as error:
            if on_error == "stop":
                raise
            problems.append(Problem(file=file, prefix=prefix, text=str(error)))
        else:
            handlers.update((handler.name, handler) for handler in found)
            loaded.setdefault(prefix, set()).update(handler.name for handler in found)
    return Registry(handlers.values(), problems, loaded)


def _sources(
    paths: Sequence[str | Path], plugins: Sequence[str]
) -> Iterator[tuple[str, str, _Functions]]:
    """Prefix, name and loader of every place that handlers come from."""
    for path in map(Path, paths):
        files = _files(path)
        package = _package(path if path.is_dir() else path.parent)
        for file in files:
            yield file.stem, str(file), _file_loader(file, package)
    for plugin in plugins:
        yield plugin, plugin, _plugin_loader(plugin)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise HandlerLoadError(
            f"{path}: no such folder; `clarihook init` makes one with the shipped handlers, or "
            "change `paths` in [handlers]"
        )
    return sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))


def _package(folder: Path) -> str:
    """Make the folder a package under a private name, so that no name can collide."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    name = f"{_PACKAGE}{digest}"
    for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[loaded]
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return name


@contextmanager
def modules_kept_on_error() -> Iterator[None]:
    """If the block raises, the modules of the handlers are again those from before it."""

    def ours() -> dict[str, types.ModuleType]:
        return {name: each for name, each in sys.modules.items() if name.startswith(_PACKAGE)}

    before = ours()
    try:
        yield
    except BaseException:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)
        raise


def _file_loader(file: Path, package: str) -> _Functions:
    def load() -> list[Callable[..., Any]]:
        name = f"{package}.{file.stem}"
        # A handler file that was already imported by another one is not run twice.
        module = sys.modules.get(name) or _execute(file, name, package)
        return list(vars(module).get(MARK, ()))

    return load


def _execute(file: Path, name: str, package: str) -> types.ModuleType:
    """Run a file as a module. From its source, not a cached `.pyc`: edits count at once."""
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(file), package
    sys.modules[name] = module
    try:
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), vars(module))  # noqa: S102
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, HandlerLoadError | KeyboardInterrupt):
            raise
        raise HandlerLoadError(f"{file} failed to load:\n{_traceback(error, str(file))}") from error
    return module


def _plugin_loader(plugin: str) -> _Functions:
    def load() -> list[Callable[..., Any]]:
        installed = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        entry = next((entry for entry in installed if entry.name == plugin), None)
        if entry is None:
            names = ", ".join(sorted(installed.names)) or "none"
            raise HandlerLoadError(
                f"plugin {plugin!r} is not installed (installed: {names}); install it, or remove "
                "it from `plugins` in [handlers]"
            )
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:
            text = _traceback(error)
            raise HandlerLoadError(f"plugin {plugin!r} failed to load:\n{text}") from error
        functions = [loaded] if hasattr(loaded, MARK) and callable(loaded) else _marked(loaded)
        if not functions:
            raise HandlerLoadError(f"plugin {plugin!r} ({entry.value}) has no function with @on")
        return functions

    return load


def _marked(module: Any) -> list[Callable[..., Any]]:
    """The handlers that a plugin's module shows, also those that it imports from its parts."""
    shown = {id(v): v for v in vars(module).values() if callable(v) and hasattr(v, MARK)}
    return list(shown.values())


def _refuse_second_names(found: Sequence[Handler], known: dict[str, Handler]) -> None:
    names = dict(known)
    for handler in found:
        first = names.setdefault(handler.name, handler)
        if first is not handler:
            raise HandlerLoadError(
                f"{handler.file}:{handler.line}: the name {handler.name!r} is taken by "
                f"{first.file}:{first.line}; rename one, or give it `name=` in @on"
            )


def _traceback(error: BaseException, file: str | None = None) -> str:
    """The traceback as text, from the handler file's own frame on."""
    trace = error.__traceback__
    while file and trace and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
