"""`/sandbox/`: JSON over HTTP to shape the sandbox from another process. Not part of clariBI."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any, Generic, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from claribi.sandbox.endpoint import error_response, parse, parse_json, read_body
from claribi.sandbox.errors import ApiError, not_found
from claribi.sandbox.records import Fault, JobKind
from claribi.sandbox.sandbox import Sandbox

InputT_co = TypeVar("InputT_co", covariant=True)


@dataclass(frozen=True)
class Ask(Generic[InputT_co]):
    """One control request."""

    sandbox: Sandbox
    input: InputT_co
    """The body; None where none is read."""
    request: Request


Handler = Callable[[Ask[Any]], Awaitable[object]]


class ControlBody(BaseModel):
    """A control body; a key that means nothing is refused, since it would be a typing error."""

    model_config = ConfigDict(extra="forbid")


class Nothing(ControlBody):
    pass


class FaultBody(Fault):
    model_config = ConfigDict(extra="forbid")


class ExpireBody(ControlBody):
    refresh: bool = False


class TimeBody(ControlBody):
    advance_seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class EventBody(ControlBody):
    event: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    data: dict[str, JsonValue] = {}


class WebhookBody(ControlBody):
    url: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=2000)]
    secret: str | None = None
    events: list[str] = ["*"]


class CreditsBody(ControlBody):
    remaining: Annotated[int, Field(ge=0, le=1_000_000_000)]


class FailJobBody(ControlBody):
    kind: JobKind
    error: str = "The connection was lost"
    count: Annotated[int, Field(ge=1, le=1000)] = 1


class RateBody(ControlBody):
    requests: Annotated[int, Field(ge=0)] | None
    window_seconds: Annotated[int, Field(ge=1)] = 60


class DrainBody(ControlBody):
    timeout_seconds: Annotated[float, Field(ge=0, le=600)] = 30


async def show(ask: Ask[object]) -> object:
    """What there is to know: credentials, time, balance, what is under way."""
    clock = ask.sandbox.world.clock
    return {
        "base_url": str(ask.request.url.replace(path="/api/", query="")),
        "api_keys": ask.sandbox.api_keys,
        "users": [user for user in ask.sandbox.users if user.password],
        "webhook_secret": ask.sandbox.webhook_secret,
        "now": clock.moment(),
        "offset_seconds": clock.offset_seconds,
        "speed": clock.speed,
        "credits": {
            "total": ask.sandbox.state.credits_total,
            "remaining": ask.sandbox.state.credits_remaining,
        },
        "jobs": ask.sandbox.state.jobs,
        "faults": ask.sandbox.world.faults,
        "webhooks": list(ask.sandbox.state.webhooks.values()),
        "deliveries_pending": sum(one.status == "pending" for one in ask.sandbox.deliveries),
    }


async def list_deliveries(ask: Ask[None]) -> object:
    status = ask.request.query_params.get("status")
    return [one for one in ask.sandbox.deliveries if status in {None, one.status}]


async def list_calls(ask: Ask[None]) -> object:
    return [asdict(call) for call in ask.sandbox.calls]


async def reset(ask: Ask[Nothing]) -> object:
    ask.sandbox.reset()
    return await show(ask)


async def add_fault(ask: Ask[FaultBody]) -> object:
    ask.sandbox.world.faults.append(ask.input)
    return ask.sandbox.world.faults


async def clear_faults(ask: Ask[None]) -> object:
    ask.sandbox.world.faults.clear()
    return ask.sandbox.world.faults


async def expire_tokens(ask: Ask[ExpireBody]) -> object:
    ask.sandbox.expire_tokens(refresh=ask.input.refresh)
    return await show(ask)


async def move_time(ask: Ask[TimeBody]) -> object:
    ask.sandbox.advance(timedelta(seconds=ask.input.advance_seconds))
    return await show(ask)


async def fire_event(ask: Ask[EventBody]) -> object:
    return await ask.sandbox.fire(ask.input.event, **ask.input.data)


async def add_webhook(ask: Ask[WebhookBody]) -> object:
    return ask.sandbox.add_webhook(ask.input.url, secret=ask.input.secret, events=ask.input.events)


async def list_webhooks(ask: Ask[None]) -> object:
    return list(ask.sandbox.state.webhooks.values())


async def remove_webhook(ask: Ask[None]) -> object:
    number = ask.request.path_params["id"]
    if not ask.sandbox.remove_webhook(number):
        raise not_found("webhook", number)
    return list(ask.sandbox.state.webhooks.values())


async def set_credits(ask: Ask[CreditsBody]) -> object:
    ask.sandbox.set_credits(ask.input.remaining)
    return await show(ask)


async def fail_jobs(ask: Ask[FailJobBody]) -> object:
    for _ in range(ask.input.count):
        ask.sandbox.fail_next_job(ask.input.kind, ask.input.error)
    return ask.sandbox.state.failing_jobs


async def set_rate_limit(ask: Ask[RateBody]) -> object:
    ask.sandbox.set_rate_limit(ask.input.requests, ask.input.window_seconds)
    return ask.input


async def drain(ask: Ask[DrainBody]) -> object:
    return {"drained": await ask.sandbox.drain(ask.input.timeout_seconds)}


CONTROLS: tuple[tuple[str, str, Handler, type[BaseModel] | None], ...] = (
    ("GET", "/sandbox/", show, None),
    ("POST", "/sandbox/reset/", reset, Nothing),
    ("POST", "/sandbox/faults/", add_fault, FaultBody),
    ("DELETE", "/sandbox/faults/", clear_faults, None),
    ("POST", "/sandbox/jobs/fail-next/", fail_jobs, FailJobBody),
    ("POST", "/sandbox/expire-tokens/", expire_tokens, ExpireBody),
    ("POST", "/sandbox/time/", move_time, TimeBody),
    ("POST", "/sandbox/credits/", set_credits, CreditsBody),
    ("POST", "/sandbox/rate-limit/", set_rate_limit, RateBody),
    ("POST", "/sandbox/events/", fire_event, EventBody),
    ("GET", "/sandbox/webhooks/", list_webhooks, None),
    ("POST", "/sandbox/webhooks/", add_webhook, WebhookBody),
    ("DELETE", "/sandbox/webhooks/{id:int}/", remove_webhook, None),
    ("GET", "/sandbox/deliveries/", list_deliveries, None),
    ("GET", "/sandbox/calls/", list_calls, None),
    ("POST", "/sandbox/drain/", drain, DrainBody),
)


def control_routes(sandbox: Sandbox) -> list[Route]:
    """The control API of this sandbox."""
    return [
        Route(path, _endpoint(sandbox, handler, body), methods=[method])
        for method, path, handler, body in CONTROLS
    ]


def _endpoint(
    sandbox: Sandbox, handler: Handler, model: type[BaseModel] | None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            _refuse_other_sites(request)
            body = None
            if model is not None:
                raw = await read_body(request)
                body = parse(model, parse_json(raw) if raw else {})
            answer = await handler(Ask(sandbox, body, request))
        except ApiError as error:
            return error_response(error)
        return Response(pydantic_core.to_json(answer), media_type="application/json")

    return endpoint


def _refuse_other_sites(request: Request) -> None:
    """A page in the developer's browser must not reach what listens on the loopback."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise ApiError(403, detail=f"Requests from {origin} are refused.")
