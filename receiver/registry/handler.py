"""A handler: a function with its patterns, its model and the way it is run."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from receiver.errors import ClarihookError, HandlerLoadError
from receiver.fields import field_at, text_of
from receiver.model import Event
from receiver.patterns import compile_patterns
from receiver.rate import Rate
from receiver.registry.context import Context
from receiver.registry.decorator import MARK, OnRetry, Registration, check_name
from receiver.retry import RetryOptions

_SHOWN_PROBLEMS = 5
_LONGEST_KEY = 200
_NEVER_A_BODY = (str, bytes, int, float, bool, list, tuple, set, frozenset, type(None), Context)


class SchemaError(ClarihookError):
    """A payload does not fit the handler's model; `problems` has one line per place.

    Trying again can't help: dispatch makes the delivery dead with reason `schema`.
    """

    reason = "schema"

    def __init__(self, model: str, problems: list[str]) -> None:
        shown = problems[:_SHOWN_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        super().__init__(f"the payload does not fit {model}: {'; '.join(shown)}")
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Handler:
    """One handler, ready to run. An option that is None is decided by `[dispatch]`."""

    name: str
    func: Callable[..., Any] = field(repr=False)
    patterns: tuple[str, ...]
    timeout_seconds: float | None
    key: str | None
    on_retry: OnRetry | None
    concurrency: int | None
    rate: Rate | None
    retry: RetryOptions
    """Its own part of the policy; the rest is its event's source's, or `[dispatch]`'s."""
    model: Any
    """What its first parameter is annotated with; `dict` if it has no annotation."""
    is_async: bool
    wants_context: bool
    file: str
    line: int
    matches: Callable[[str], bool] = field(repr=False, compare=False)
    """`matches(event_type) -> bool`."""
    parse: Callable[[Event], Any] = field(repr=False, compare=False)
    """`parse(event)`: the handler's first argument, made anew; raises SchemaError.

    It reads the raw bytes: validating JSON costs no more than validating parsed values, and no
    two handlers ever share a mutable value.
    """

    @property
    def steps_aside(self) -> bool:
        """Whether a delivery that waits for a retry lets the next of its key run meanwhile."""
        return self.on_retry == "step_aside"

    def key_of(self, value: Any) -> str | None:
        """The ordering key in a parsed body: a string, number or boolean at `key`, as text.

        None, so no order, when the handler has no `key` or the body has nothing usable there.
        A text too long for an index, or that can't be printed, is replaced by its SHA-256.
        """
        return (
            None if self.key is None else text_of(field_at(value, self.key), longest=_LONGEST_KEY)
        )


def make_handlers(func: Callable[..., Any], prefix: str) -> list[Handler]:
    """A handler per `@on` of the function, named `<prefix>.<function>` where it gives no name.

    Raises HandlerLoadError, with file and line, if the function's parameters make no sense.
    """
    registrations: list[Registration] = getattr(func, MARK, [])
    return [_make(func, prefix, registration) for registration in registrations]


def _make(func: Callable[..., Any], prefix: str, registration: Registration) -> Handler:
    try:
        name = registration.name or check_name(f"{prefix}.{func.__name__}")
        model, wants_context = _read_parameters(func)
        parse = _parser(model)
    except ValueError as problem:
        where = f"{registration.file}:{registration.line}"
        raise HandlerLoadError(f"{where}: {func.__name__}: {problem}") from None
    return Handler(
        name=name,
        func=func,
        patterns=registration.patterns,
        timeout_seconds=registration.timeout_seconds,
        key=registration.key,
        on_retry=registration.on_retry,
        concurrency=registration.concurrency,
        rate=registration.rate,
        retry=registration.retry,
        model=model,
        is_async=inspect.iscoroutinefunction(func),
        wants_context=wants_context,
        file=registration.file,
        line=registration.line,
        matches=compile_patterns(registration.patterns),
        parse=parse,
    )


def _read_parameters(func: Callable[..., Any]) -> tuple[Any, bool]:
    """The model of the first parameter, and whether there is a second one for the Context."""
    if inspect.isasyncgenfunction(func) or inspect.isgeneratorfunction(func):
        raise ValueError("a handler can't `yield`; return when it is done")
    try:
        hints = typing.get_type_hints(func, include_extras=True)
    except Exception as error:
        raise ValueError(
            f"its annotations can't be resolved ({error}); import the names that they use at the "
            "top of the file, not under `if TYPE_CHECKING`"
        ) from None
    needed = [p for p in inspect.signature(func).parameters.values() if _must_be_given(p)]
    if not needed or len(needed) > 2 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise ValueError("a handler takes the event and, if it likes, a Context: (event, ctx)")
    if len(needed) == 2 and hints.get(needed[1].name, Context) is not Context:
        raise ValueError(
            f"the parameter `{needed[1].name}` means nothing here; the second one is a Context"
        )
    model = hints.get(needed[0].name, dict)
    if model in _NEVER_A_BODY or typing.get_origin(model) in _NEVER_A_BODY:
        raise ValueError(
            f"the parameter `{needed[0].name}: {_name_of(model)}` means nothing here; the first "
            "one is the event: annotate it with a model of receiver.events, a pydantic model, a "
            "dataclass, a TypedDict, dict or receiver.Event"
        )
    return model, len(needed) == 2


def _must_be_given(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _parser(model: Any) -> Callable[[Event], Any]:
    if model is Event:
        return lambda event: event
    if model is Any or model is object:
        model = dict
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(model)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the event can't be made into {_name_of(model)}: {reason}") from None
    return partial(_parse, adapter.validator.validate_json, _name_of(model))


def _parse(validate_json: Callable[..., Any], name: str, event: Event) -> Any:
    try:
        return validate_json(event.body, context={"received_at": event.received_at})
    except ValidationError as error:
        raise SchemaError(name, [_problem(each) for each in error.errors(**_BRIEF)]) from None


# The input is left out: payloads don't belong in logs.
_BRIEF: dict[str, Any] = {"include_url": False, "include_context": False, "include_input": False}


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(str(step) for step in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def _name_of(model: Any) -> str:
    """How an annotation reads in a message: `SyncFailed`, `SyncFailed | SyncCompleted`."""
    if typing.get_origin(model) in (typing.Union, types.UnionType):
        return " | ".join(_name_of(part) for part in typing.get_args(model))
    return model.__name__ if isinstance(model, type) else str(model)
