"""`clarihook route --cases`: a file of what must be sent where, checked against the settings."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from receiver.cli.deployment import find_event, opened
from receiver.cli.dry_run import DryRun, Ruling
from receiver.errors import PayloadError, UsageError
from receiver.model import Event, to_ms
from receiver.payload import parse_object
from receiver.samples import SAMPLE_DATA
from receiver.settings import Settings
from receiver.settings.locate import locate
from receiver.settings.problems import name_hint, nearest
from receiver.settings.values import one_or_many
from receiver.testing.events import make_event

CASES_FILE = "config/cases.toml"

_Names = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]


def _aware(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("needs an offset, such as 2026-11-23T03:00:00Z")
    return value


class Case(BaseModel):
    """One expectation. `[[cases]]` of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    type: str | None = None
    """The event's type, with `data`, or else a sample's data."""
    data: dict[str, Any] | None = None
    file: str | None = None
    """Instead: a file with a webhook's body, relative to the cases' folder."""
    event: str | None = None
    """Instead: a stored event's id."""
    source: str | None = None
    at: Annotated[datetime, BeforeValidator(_aware)] | None = None
    """When it comes; else now, and for a stored event when it came."""
    sent: _Names | None = None
    """Channels and targets that it is sent to at once: these and no others."""
    held: _Names | None = None
    """Those for which it is held: these and no others; none unless given, if `sent` is."""
    not_sent: _Names = ()
    """Those that get nothing, neither now nor later."""
    title: str | None = None
    """A part of some message's title."""
    body: str | None = None
    """A part of some message's body, in one of its formats."""

    @model_validator(mode="after")
    def _has_one_event(self) -> "Case":
        if sum(each is not None for each in (self.type, self.file, self.event)) != 1:
            raise ValueError("say which event: one of type (and data), file, event")
        if self.data is not None and self.type is None:
            raise ValueError("data goes with type")
        wanted = (self.sent, self.held, self.title, self.body)
        if all(each is None for each in wanted) and not self.not_sent:
            raise ValueError("expects nothing: give sent, held, not_sent, title or body")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of a case. `failures` has a line for each expectation that was not met."""

    case: Case
    line: int
    sent: tuple[str, ...]
    held: tuple[str, ...]
    failures: tuple[str, ...]
    routes: tuple[Ruling, ...]

    def record(self, dry: DryRun) -> dict[str, Any]:
        """As JSON has it; with the routes if it failed."""
        return {
            "name": self.case.name,
            "line": self.line,
            "passed": not self.failures,
            "failures": list(self.failures),
            "sent": list(self.sent),
            "held": list(self.held),
            "routes": [dry.row(each) for each in self.routes] if self.failures else [],
        }


@dataclass(frozen=True, kw_only=True)
class CasesFile:
    """A file of cases, read and found sound."""

    path: Path
    cases: tuple[Case, ...]
    lines: dict[tuple[str | int, ...], int]

    def line(self, index: int, key: str | None = None) -> int:
        """Where a case, or a key of it, stands."""
        path: tuple[str | int, ...] = ("cases", index)
        whole = self.lines.get(path, 1)
        return whole if key is None else self.lines.get((*path, key), whole)

    def refuse(self, index: int, key: str, text: str) -> UsageError:
        """What to raise for a case that means something that is not there."""
        return UsageError(f"{self.path}:{self.line(index, key)}: {key}: {text}")


def read_cases(path: Path) -> CasesFile:
    """Raises UsageError with every fault and its line."""
    try:
        text = path.read_text("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # tomllib's text has the line
        raise UsageError(f"{path}: {error}") from None
    lines = dict(locate(text))
    try:
        cases = _File.model_validate(data).cases
    except ValidationError as error:
        faults = [_fault(path, dict(each), lines) for each in error.errors(include_input=False)]
        raise UsageError("\n".join(faults)) from None
    if not cases:
        raise UsageError(f"{path}:1: there is no [[cases]] in it")
    return CasesFile(path=path, cases=cases, lines=lines)


def _fault(path: Path, fault: dict[str, Any], lines: dict[tuple[str | int, ...], int]) -> str:
    place = tuple(fault["loc"])
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = Case.model_fields if len(place) > 1 else _File.model_fields
        text = f"is no key of a case; {name_hint(str(place[-1]), known)}"
    shown = ".".join(map(str, place[2:] if len(place) > 1 else place))
    return f"{path}:{line}: {shown}: {text}" if shown else f"{path}:{line}: {text}"


async def check_cases(dry: DryRun, file: CasesFile) -> list[CaseResult]:
    """Check each case. Raises UsageError for names and events that are not there."""
    for index, case in enumerate(file.cases):
        _check_names(dry, file, index, case)
    return [await _check(dry, file, index) for index in range(len(file.cases))]


async def _check(dry: DryRun, file: CasesFile, index: int) -> CaseResult:
    case = file.cases[index]
    event = await _event(dry.settings, file, index)
    foretold = await dry.foretell(event, to_ms(event.received_at))
    sent: dict[str, None] = {}
    held: dict[str, None] = {}
    titles: list[str] = []
    bodies: list[str] = []
    for ruling in foretold.rulings:
        if ruling.verdict.forward is not None:
            sent[ruling.verdict.forward.channel] = None
    for message, deliveries in foretold.staged:
        titles.append(message.title)
        bodies += [message.body, *message.bodies.values()]
        for new in deliveries:
            # A throttle lets its first ones through: a case stands for one event alone.
            if new.hold is None or new.hold.kind == "throttle":
                sent[new.name] = None
            elif new.hold.kind != "escalation":  # that is only for what nobody acknowledges
                held[new.name] = None
    failures = _failures(dry, case, tuple(sent), tuple(held))
    for key, texts in (("title", titles), ("body", bodies)):
        part = getattr(case, key)
        if part is not None and not any(part in text for text in texts):
            failures.append(f"{key}: expected {part!r} in one of {texts}")
    return CaseResult(
        case=case,
        line=file.line(index),
        sent=tuple(sent),
        held=tuple(held),
        failures=tuple(failures),
        routes=tuple(each for each in foretold.rulings if each.verdict.is_for_event),
    )


def _failures(dry: DryRun, case: Case, sent: Sequence[str], held: Sequence[str]) -> list[str]:
    failures = []
    expects = case.sent is not None or case.held is not None
    for key, wanted, actual in (
        ("sent", case.sent, sent),
        ("held", case.held if case.held is not None else () if expects else None, held),
    ):
        if wanted is not None and set(_targets(dry, wanted)) != set(actual):
            shown = ", ".join(_targets(dry, wanted)) or "nothing"
            failures.append(f"{key}: expected {shown}; got {', '.join(actual) or 'nothing'}")
    failures += [
        f"not_sent: {name} is {'sent' if name in sent else 'held'}"
        for name in _targets(dry, case.not_sent)
        if name in sent or name in held
    ]
    return failures


def _targets(dry: DryRun, names: Sequence[str]) -> list[str]:
    """A channel's name stands for all of its targets."""
    channels = dry.wiring.notifier.channels
    return [each for name in names for each in channels.get(name, (name,))]


def _check_names(dry: DryRun, file: CasesFile, index: int, case: Case) -> None:
    channels = dry.wiring.notifier.channels
    known = {*channels, *(t for each in channels.values() for t in each), *dry.wiring.forwards}
    for key, names in (("sent", case.sent), ("held", case.held), ("not_sent", case.not_sent)):
        for name in names or ():
            if name not in known:
                near = nearest(name, known)
                hint = f'did you mean "{near}"?' if near else "see `clarihook channels list`"
                text = f"there is no channel or target {name!r}; {hint}"
                raise file.refuse(index, key, text)
    sources = dry.settings.sources
    if case.source is not None and case.source not in sources:
        text = f"there is no source {case.source!r}; {name_hint(case.source, sources)}"
        raise file.refuse(index, "source", text)


async def _event(settings: Settings, file: CasesFile, index: int) -> Event:
    case = file.cases[index]
    if case.event is not None:
        try:
            async with opened(settings, "reader") as store:
                event = await find_event(store, case.event)
        except UsageError as error:
            raise file.refuse(index, "event", str(error)) from None
    else:
        only = next(iter(settings.sources)) if len(settings.sources) == 1 else "claribi"
        event = replace(make_event(_body(file, index)), source=only)
    if case.source is not None:
        event = replace(event, source=case.source)
    return event if case.at is None else replace(event, received_at=case.at.astimezone(UTC))


def _body(file: CasesFile, index: int) -> bytes:
    case = file.cases[index]
    if case.type is not None:
        data = SAMPLE_DATA.get(case.type, {}) if case.data is None else case.data
        moment = (case.at or datetime.now(UTC)).isoformat()
        value = {"event": case.type, "timestamp": moment, "data": data}
        return json.dumps(value, default=str).encode()
    assert case.file is not None, "a case has one event"
    try:
        body = (file.path.parent / case.file).read_bytes()
        parse_object(body)
    except OSError as error:
        raise file.refuse(index, "file", f"{case.file}: {error.strerror}") from None
    except PayloadError as error:
        raise file.refuse(index, "file", f"{case.file} holds no event: {error}") from None
    return body
