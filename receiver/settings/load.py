"""Settings from their four layers: flags over environment over file over defaults."""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.errors import ConfigError
from receiver.settings.locate import locate
from receiver.settings.model import Settings, validate
from receiver.settings.problems import KeyPath, Origins, Problem, dotted, name_hint
from receiver.settings.secrets import find_warnings
from receiver.settings.values import Surroundings

CONFIG_FILE = "config/clarihook.toml"
MAX_CONFIG_BYTES = 1_048_576

_VARIABLE = re.compile(r"CLARIHOOK_(ROUTES|[A-Z]+(?:__[A-Z0-9_]+?)+)", re.ASCII)
_TOML_PLACE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Settings, where each was given, and what is legal in them but unwise."""

    settings: Settings
    origins: Origins
    warnings: tuple[str, ...]


def load_settings(
    home: Path | str,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    needs_secrets: bool = True,
) -> Settings:
    """The settings of the deployment in `home`; raises ConfigError with every fault at once.

    `environ` is the process's environment unless given. `overrides` holds what flags set, as
    `{"server.port": 9000}` or `{"server": {"port": 9000}}`; None is a flag that was not given.

    Whoever only looks at what is stored passes `needs_secrets=False`: then a secret that can't
    be found is no fault, since an operator's shell seldom has the server's environment.
    """
    return load(home, environ, overrides, needs_secrets=needs_secrets).settings


def load(
    home: Path | str,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    needs_secrets: bool = True,
) -> Loaded:
    """As `load_settings`, with the origins and the warnings that `clarihook config` shows."""
    environ = os.environ if environ is None else environ
    folder = Path(home).expanduser().resolve()
    file = folder / CONFIG_FILE
    shown = _relative_to_here(file)

    text = _read(file, shown)
    data, lines = _parse(text, shown)
    origins = Origins({path: f"{shown}:{line}" for path, line in lines.items()})
    problems = _apply_environment(data, origins, environ)
    _apply_overrides(data, origins, overrides or {})
    if not file.exists() and not data.get("sources"):
        raise ConfigError(
            f"there is no {CONFIG_FILE} in {folder}; create it with `clarihook init {folder}`, "
            "or name the deployment's folder with --home or CLARIHOOK_HOME"
        )

    settings, faults = validate(data, Surroundings(folder, environ, needs_secrets))
    problems += faults
    if settings is None or problems:
        raise ConfigError(*dict.fromkeys(_line(p, origins, shown) for p in problems))
    warnings = find_warnings(settings, origins) if needs_secrets else ()
    return Loaded(settings=settings, origins=origins, warnings=warnings)


def _relative_to_here(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _line(problem: Problem, origins: Origins, shown: str) -> str:
    place = origins.place(problem.path) or shown
    key = dotted(problem.path)
    return f"{place}: {key}: {problem.text}" if key else f"{place}: {problem.text}"


def _read(file: Path, shown: str) -> str:
    """The file's text; empty if there is no file."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{shown}: is larger than {MAX_CONFIG_BYTES} bytes; is it the file?")
        return content.decode("utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown}:{line}: is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{shown}: can't be read: {error.strerror}") from None


def _parse(text: str, shown: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The file's values, and the line of each."""
    try:
        return tomllib.loads(text), locate(text)
    except RecursionError:
        raise ConfigError(f"{shown}: is nested too deeply; clarihook needs 3 levels") from None
    except ValueError as error:
        place = _TOML_PLACE.fullmatch(str(error))
        if place is None:
            line, message = text.count("\n") + 1, str(error).removesuffix(" (at end of document)")
            raise ConfigError(f"{shown}:{line}: is no TOML: {message}") from None
        message, row, column = place.groups()
        raise ConfigError(f"{shown}:{row}: column {column}: is no TOML: {message}") from None


def _apply_environment(
    data: dict[str, Any], origins: Origins, environ: Mapping[str, str]
) -> list[Problem]:
    """Put what `CLARIHOOK_SECTION__KEY` variables set into `data`; returns their own faults.

    Names without a double underscore are not ours to judge: Kubernetes sets CLARIHOOK_PORT and
    the like for a service called clarihook.
    """
    problems = []
    sections = [name for name in Settings.model_fields if name != "home"]
    for variable in sorted(environ):
        match = _VARIABLE.fullmatch(variable)
        if match is None:
            continue
        section, *names = match[1].lower().split("__")
        path = _existing_names(data, (section, *names))
        origins.update({path: variable})
        if section not in sections:
            hint = name_hint(section, sections)
            problems.append(Problem(path, f"no such section; {hint}"))
        elif not _put(data, path, value := _variable_value(environ[variable])):
            text = "is in no table; set a route with all others, as JSON in CLARIHOOK_ROUTES"
            problems.append(Problem(path, text))
        else:
            _claim(origins, path, variable)
            origins.update(dict.fromkeys(_inner_paths(value, path), variable))
    return problems


def _existing_names(data: Any, path: tuple[str, ...]) -> tuple[str, ...]:
    """The path in the spelling of `data`: a variable can't say the hyphen of `my-source`."""
    spelled = []
    for name in path:
        known = data if isinstance(data, Mapping) else {}
        name = next((k for k in known if k.lower().replace("-", "_") == name), name)  # noqa: PLW2901
        spelled.append(name)
        data = known.get(name, {})
    return tuple(spelled)


def _variable_value(text: str) -> Any:
    """A list or list of tables from JSON; any other text as it is, for pydantic to read."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text


def _inner_paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The path of everything inside a list or table."""
    inside: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, element in inside:
        yield (*path, key)
        yield from _inner_paths(element, (*path, key))


def _apply_overrides(
    data: dict[str, Any],
    origins: Origins,
    overrides: Mapping[str, Any],
    table: tuple[str, ...] = (),
) -> None:
    for key, value in overrides.items():
        path = (*table, *key.split("."))
        if isinstance(value, Mapping):
            _apply_overrides(data, origins, value, path)
        # Where a plain value stands in a table's place, that is the fault to be told.
        elif value is not None and _put(data, path, value):
            _claim(origins, path, f"--{path[-1].replace('_', '-')}")


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    """Set the value at `path`, making tables on the way; False if something else is in the way."""
    for name in path[:-1]:
        table = data.setdefault(name, {})
        if not isinstance(table, dict):
            return False
        data = table
    data[path[-1]] = value
    return True


def _claim(origins: Origins, path: KeyPath, giver: str) -> None:
    """Note that `giver` set the key at `path`, and with it all that stood under it."""
    for key in [known for known in origins if known[: len(path)] == path]:
        del origins[key]
    origins[path] = giver
    for depth in range(1, len(path)):
        origins.setdefault(path[:depth], giver)
