"""Running one handler once, with everything around it in memory."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import httpx2

from claribi import AsyncClariBI
from receiver.errors import ConfigError, Reject, Retry, Skip, UsageError
from receiver.model import Event, Message
from receiver.registry import Context, Handler, Resources, SchemaError, load_handlers
from receiver.registry.handler import make_handlers
from receiver.templates.library import Templates
from receiver.testing.answers import Answers, ApiCall, client_of
from receiver.testing.events import EventLike, make_event

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class HandlerRun:
    """What one run of a handler did, and what would be committed."""

    outcome: Literal["succeeded", "skipped", "retry", "rejected", "failed"]
    """`skipped` is a success with a reason; `rejected` is dead at once, also when the payload
    does not fit; `retry` (asked for) and `failed` (any other exception) are tried again."""
    reason: str = ""
    """What the handler, or its exception, said; also what is wrong with a template."""
    messages: tuple[Message, ...] = ()
    """What would be sent: nothing, unless it succeeded or skipped."""
    values: Mapping[str, Any]
    """All that `ctx.store` holds afterwards: give it to the next run as `store`."""
    api_calls: tuple[ApiCall, ...] = ()
    """The requests to the API, in order; empty for a client that you made (use its hooks)."""
    error: BaseException | None = None
    """What it raised."""


async def run_handler_async(
    handler: Handler | Callable[..., Any],
    event: EventLike,
    *,
    data: Mapping[str, Any] | None = None,
    claribi: AsyncClariBI | Answers | None = None,
    store: Mapping[str, Any] | None = None,
    channels: Collection[str] | None = None,
    http: httpx2.AsyncClient | None = None,
    attempt: int = 1,
    replaying: bool = False,
) -> HandlerRun:
    """Run a function that has an `@on`, or a loaded `Handler`, once.

    event: a type (then with `data`), a whole body as dict, bytes or model, or a stored event.
    claribi: the API's answers, or a client; None is a deployment without `[claribi]`.
    store: what `ctx.store` holds beforehand. channels: the configured ones; None is any name.
    http: what `ctx.http` is; without it, using it fails.

    What the handler raises is in the result. Raises UsageError for what can't be run.
    """
    handler = handler if isinstance(handler, Handler) else handler_of(handler)
    stored = make_event(event, data)
    calls: list[ApiCall] = []
    async with _api(claribi, calls) as client, _network(http) as http_client:
        resources = _Resources(
            channels=_AnyName() if channels is None else channels,
            client=client,
            http_client=http_client,
            values={key: json.dumps(value) for key, value in (store or {}).items()},
            templates=_templates_of(handler),
        )
        run, staged = await run_with(
            handler, stored, resources, attempt=attempt, replaying=replaying
        )
    values: dict[str, str | None] = {**resources.values, **staged}
    return replace(
        run,
        values={key: json.loads(text) for key, text in values.items() if text is not None},
        api_calls=tuple(calls),
    )


async def run_with(
    handler: Handler,
    event: Event,
    resources: Resources,
    *,
    attempt: int = 1,
    replaying: bool = False,
) -> tuple[HandlerRun, Mapping[str, str | None]]:
    """Run a handler once with what it is given; also what it would keep, as its context has it."""
    timeout = handler.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
    ctx = Context(
        event=event,
        handler_name=handler.name,
        resources=resources,
        attempt=attempt,
        deadline=time.time() + timeout,
        replay_id=1 if replaying else None,
    )
    run = await _ending(handler, ctx, timeout)
    if run.outcome not in ("succeeded", "skipped"):
        return run, {}
    reason = "; ".join([*([run.reason] if run.reason else []), *ctx.notes])
    return replace(run, messages=tuple(ctx.staged), reason=reason), ctx.staged_values


def _templates_of(handler: Handler) -> Templates:
    """The shipped templates, and those of the deployment that the handler's file lies in."""
    folder = Path(handler.file).resolve().parents[1] / "config" / "templates"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return _load_templates(folder, tuple((file.name, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=4)
def _load_templates(folder: Path, _files: tuple[tuple[str, int], ...]) -> Templates:
    # By what the files are now, so that a test may change one between two runs.
    return Templates(folder)


def _blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(function(*args, **kwargs))

    return run


run_handler = _blocking(run_handler_async)
"""`run_handler_async` for a test that is not async; a client that you give must be fresh."""


def handler_of(func: Callable[..., Any]) -> Handler:
    """The handler that a function with an `@on` makes (the first, if it has several)."""
    module = getattr(func, "__module__", "").rpartition(".")[2]
    handlers = make_handlers(func, module)
    if not handlers:
        raise UsageError(f"{getattr(func, '__name__', func)} is no handler: put @on(…) above it")
    return handlers[0]


def load_handler(file: Path | str, function: str | None = None) -> Handler:
    """The handler in a file, loaded as `clarihook serve` loads it; `function` if it has several.

    Raises HandlerLoadError for a file that can't be loaded, UsageError if there is no such one.
    """
    found = load_handlers([Path(file)]).handlers
    named = [each for each in found if function in (None, each.func.__name__)]
    if len(named) == 1:
        return named[0]
    names = ", ".join(each.func.__name__ for each in found) or "none"
    raise UsageError(f"{file}: say which function: load_handler(file, …); its handlers: {names}")


async def _ending(handler: Handler, ctx: Context, seconds: float) -> HandlerRun:
    """Run it as dispatch would, and say how it ended."""
    try:
        async with asyncio.timeout(seconds):
            await _call(handler, ctx)
    except Skip as signal:
        return HandlerRun(outcome="skipped", reason=signal.reason, error=signal, values={})
    except Retry as signal:
        return HandlerRun(outcome="retry", reason=signal.reason, error=signal, values={})
    except (Reject, SchemaError) as signal:
        return HandlerRun(outcome="rejected", reason=str(signal), error=signal, values={})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return HandlerRun(outcome="failed", reason=reason, error=error, values={})
    return HandlerRun(outcome="succeeded", values={})


async def _call(handler: Handler, ctx: Context) -> None:
    arguments = (handler.parse(ctx.event), *((ctx,) if handler.wants_context else ()))
    if handler.is_async:
        await handler.func(*arguments)
    else:
        await asyncio.to_thread(handler.func, *arguments)


class _AnyName(Collection[str]):
    """Channels of a deployment that has them all."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class _Resources:
    """The `Resources` of a run: a client of made-up answers, a dict for a store, no network."""

    channels: Collection[str]
    client: AsyncClariBI | None
    http_client: httpx2.AsyncClient
    values: Mapping[str, str]
    templates: Templates

    def claribi(self) -> AsyncClariBI:
        if self.client is None:
            raise ConfigError("[claribi] is not configured; for a trial, pass answers")
        return self.client

    def http(self) -> httpx2.AsyncClient:
        return self.http_client

    async def kv_get(self, handler_name: str, key: str) -> str | None:  # noqa: ARG002
        return self.values.get(key)


@asynccontextmanager
async def _api(
    claribi: AsyncClariBI | Answers | None, calls: list[ApiCall]
) -> AsyncIterator[AsyncClariBI | None]:
    """The client of a run. One that was given stays open."""
    if claribi is None or isinstance(claribi, AsyncClariBI):
        yield claribi
    else:
        async with client_of(claribi, calls) as client:
            yield client


@asynccontextmanager
async def _network(http: httpx2.AsyncClient | None) -> AsyncIterator[httpx2.AsyncClient]:
    """What `ctx.http` is. One that was given stays open."""
    if http is not None:
        yield http
    else:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(_refuse)) as client:
            yield client


def _refuse(request: httpx2.Request) -> httpx2.Response:
    raise UsageError(f"ctx.http: {request.method} {request.url}: pass http= to run_handler")
