"""`clarihook events send`: valid, signed webhooks, to this deployment or to any address."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from receiver.cli.answers import json_object
from receiver.cli.completing import event_types, one_of, sources
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_warning
from receiver.cli.times import duration
from receiver.errors import UsageError
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint
from receiver.signatures import PRESETS, Scheme, SchemeSpec, build_scheme

if TYPE_CHECKING:
    import httpx2

    from receiver.samples import Places

CONNECTIONS = 8


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Whose webhooks the samples are, and where they go."""

    url: str
    scheme: Scheme
    places: "Places"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many, and how fast."""

    count: int
    per_second: float | None
    """None is as fast as it goes."""
    connections: int


def send(
    event_type: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="The event's type: report.generated, or any other",
            autocompletion=event_types,
        ),
    ],
    *,
    data: Annotated[
        str | None, typer.Option(help="A JSON object, merged into the sample's data.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Send it there. Default: this deployment's own address.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="As this source of the settings: its scheme and secret.", autocompletion=sources
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Instead of a source's: env:NAME, file:PATH or the secret itself."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="With --secret: claribi (else), standard, github, stripe, slack, shopify.",
            autocompletion=one_of(*PRESETS),
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many, each one another event.")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="How many per second; without it as fast as it goes.")
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, max=1000, help="How many at once, at most.")
    ] = CONNECTIONS,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the summary, not each answer.")
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Send signed samples of an event and print each answer; exit status 1 if one is no 2xx.

    With --count it is a load generator, too: many different events, at a rate or as fast as it
    goes, and a summary of the answers and of how long they took.

    Example: clarihook events send billing.credits_low --data '{"remaining": 3}'

    Example: clarihook events send report.generated --count 5000 --rate 200 --quiet
    """
    if rate is not None and not rate > 0:
        raise UsageError(f"--rate {rate:g} would never send anything; give a number above 0")
    if scheme is not None and secret is None:
        raise UsageError(f"--scheme {scheme} signs with --secret; give that too, or --source NAME")
    extra = json_object("--data", data) if data is not None else {}
    _warn_of_mistyped(event_type)
    if url is not None:
        from receiver.guard import check_form  # noqa: PLC0415 - slow to import

        check_form("--url", url)
    settings = load_settings(home)
    sender = (
        _elsewhere(settings, url, scheme or "claribi", secret)
        if secret is not None
        else _of_source(settings, source, url)
    )
    begun = time.monotonic()
    pace = Pace(count=count, per_second=rate, connections=min(connections, count))
    results = asyncio.run(_send_all(sender, event_type, extra, pace, quiet=as_json or quiet))
    seconds = time.monotonic() - begun
    if as_json:
        print_json({"url": sender.url, "sent": results})
    elif count > 1 or quiet:
        _print_summary(results, seconds)
    if any(not 200 <= result["status"] < 300 for result in results):
        raise typer.Exit(1)


async def _send_all(
    sender: Sender,
    event_type: str,
    data: dict[str, Any],
    pace: "Pace",
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Send them over a few connections; the answers in the order in which they came."""
    import httpx2  # noqa: PLC0415 - slow, and only sending needs it

    results: list[dict[str, Any]] = []
    numbers = iter(range(pace.count))
    began = time.monotonic()

    async def work(client: "httpx2.AsyncClient") -> None:
        for number in numbers:
            if pace.per_second is not None:
                slot = began + number / pace.per_second
                await asyncio.sleep(max(0.0, slot - time.monotonic()))
            result = await _send_one(client, sender, event_type, data, number)
            results.append(result)
            if not quiet:
                print_line(_line(result))

    # trust_env: a proxy variable of the machine must not see signed webhooks.
    async with (
        httpx2.AsyncClient(
            timeout=30.0,
            trust_env=False,
            limits=httpx2.Limits(max_connections=pace.connections),
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(pace.connections):
            group.create_task(work(client))
    return results


async def _send_one(
    client: "httpx2.AsyncClient",
    sender: Sender,
    event_type: str,
    data: dict[str, Any],
    number: int,
) -> dict[str, Any]:
    import httpx2  # noqa: PLC0415

    from receiver.samples import make_sample  # noqa: PLC0415

    sample = make_sample(
        event_type,
        data,
        places=sender.places,
        scheme=sender.scheme,
        message_id=f"msg_{uuid4().hex}",
        # A microsecond apart: a source may tell events apart by their bodies alone.
        now=datetime.now(UTC) + timedelta(microseconds=number),
    )
    begun = time.perf_counter()
    try:
        answer = await client.post(sender.url, content=sample.body, headers=sample.headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        text = f"can't reach {sender.url}: {reason}. Is `clarihook serve` running there?"
        return {"status": 0, "milliseconds": 0.0, "error": text}
    milliseconds = (time.perf_counter() - begun) * 1000
    return {
        "status": answer.status_code,
        "milliseconds": round(milliseconds, 2),
        "answer": _parsed(answer.text),
    }


def _warn_of_mistyped(event_type: str) -> None:
    """Any type may be sent, but one that is nearly clariBI's is a slip."""
    from receiver.samples import nearest_type  # noqa: PLC0415

    near = nearest_type(event_type)
    if near is not None:
        print_warning(f"clariBI sends no {event_type}; did you mean {near}?")


def _of_source(settings: Settings, name: str | None, url: str | None) -> Sender:
    from receiver.samples import Places  # noqa: PLC0415
    from receiver.sources import build_sources  # noqa: PLC0415

    name = name or _only_source(settings)
    if name not in settings.sources:
        hint = name_hint(name, settings.sources)
        raise UsageError(f"there is no source {name!r} in the settings; {hint}")
    chosen = settings.sources[name]
    return Sender(
        url=url or f"{_own_address(settings)}/hooks/{name}",
        scheme=build_sources(settings)[name].scheme,
        places=Places.of(chosen.scheme, chosen.type, chosen.dedupe),
    )


def _only_source(settings: Settings) -> str:
    """The source that is meant when none is named: the only one, or clariBI's only one."""
    names = list(settings.sources)
    if len(names) > 1:
        names = [name for name, source in settings.sources.items() if source.scheme == "claribi"]
    if len(names) == 1:
        return names[0]
    raise UsageError(f"say which source: --source {' or '.join(settings.sources) or 'NAME'}")


def _own_address(settings: Settings) -> str:
    host, port = settings.server.host, settings.server.port
    if port == 0:
        raise UsageError("server.port is 0, any free one; give the address: --url http://…")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound, replaced
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _elsewhere(settings: Settings, url: str | None, scheme: str, secret: str) -> Sender:
    from receiver.cli.secrets import resolve  # noqa: PLC0415
    from receiver.samples import Places  # noqa: PLC0415

    if url is None:
        raise UsageError("--secret is for another receiver; say which: --url http://…")
    built = build_scheme(SchemeSpec(scheme=scheme), [resolve("--secret", secret, settings.home)])
    return Sender(url=url, scheme=built, places=Places.of(scheme))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text[:1000]


def _line(result: dict[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])
    answer = result["answer"]
    shown = answer if isinstance(answer, str) else json.dumps(answer)
    return f"{result['status']}  {duration(result['milliseconds'])}  {shown}"


def _print_summary(results: list[dict[str, Any]], seconds: float) -> None:
    statuses = Counter(result["status"] or "no answer" for result in results)
    counts = ", ".join(f"{count} with {status}" for status, count in statuses.most_common())
    times = sorted(result["milliseconds"] for result in results)
    middle, late = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    print_line(
        f"{len(results)} sent in {seconds:.1f} s ({len(results) / seconds:.0f}/s): {counts}; "
        f"p50 {duration(middle)}, p99 {duration(late)}"
    )
