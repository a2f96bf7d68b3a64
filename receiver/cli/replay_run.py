"""`clarihook replay run`: what to repeat, and how."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from receiver.cli.deployment import check_known, find_event, find_handler, opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.selecting import checked_condition
from receiver.cli.times import TIME_FORMS, span_ms
from receiver.errors import UsageError
from receiver.model import State
from receiver.replay import Selection
from receiver.settings import Settings, load_settings
from receiver.signatures import SchemeSpec, build_scheme

if TYPE_CHECKING:
    from receiver.cli.resend import Resend
    from receiver.registry import Registry

_SELECT, _RUN, _SEND, _LOOK = "Which events", "What to do", "To another address", "Look first"

RateOption = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="So many events per second; else as fast as it goes.",
        rich_help_panel=_RUN,
    ),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="At most so many deliveries at a time.", rich_help_panel=_RUN
    ),
]


def run(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="EVENT_ID", help="Just these events; beginnings of ids do."),
    ] = None,
    *,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="PATTERN",
            help="Of this type, such as data_source.*",
            rich_help_panel=_SELECT,
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="From this source.", rich_help_panel=_SELECT),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help=f"Not before: {TIME_FORMS}.", rich_help_panel=_SELECT),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Before that moment; as --since.", rich_help_panel=_SELECT
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CEL",
            help="That fit a condition on event, source and received_at, as a route's `when`.",
            rich_help_panel=_SELECT,
        ),
    ] = None,
    state: Annotated[
        list[State] | None,
        typer.Option(
            help="Only what is so at its latest delivery: dead is what died, runs and messages.",
            rich_help_panel=_SELECT,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many events.", rich_help_panel=_SELECT)
    ] = None,
    order: Annotated[
        Literal["oldest", "newest"],
        typer.Option(help="Which come first, and count for --limit.", rich_help_panel=_SELECT),
    ] = "oldest",
    handler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only through this handler, or `routes`; else all that match today.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    messages: Annotated[
        bool,
        typer.Option(
            "--messages",
            help="Run no handler: send what was said once more, as it was.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="As --messages, to this channel only.", rich_help_panel=_RUN
        ),
    ] = None,
    no_notify: Annotated[
        bool,
        typer.Option(
            "--no-notify",
            help="Run the handlers, and show what they say instead of sending it.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Run nothing: send the exact bytes there, signed anew.",
            rich_help_panel=_SEND,
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Sign it by this scheme: claribi, standard, github, stripe, slack, shopify.",
            rich_help_panel=_SEND,
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="Sign it with env:NAME, file:PATH or this; else with the source's.",
            rich_help_panel=_SEND,
        ),
    ] = None,
    as_received: Annotated[
        bool,
        typer.Option("--as-received", help="With the headers as they came.", rich_help_panel=_SEND),
    ] = False,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Even into a private network.", rich_help_panel=_SEND),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show how many there are, when they came, and the first ten; do nothing.",
            rich_help_panel=_LOOK,
        ),
    ] = False,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="With --handler and --dry-run: what would be said now that was not said then.",
            rich_help_panel=_LOOK,
        ),
    ] = False,
    answers: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            help="With --diff: what is read comes from this JSON, as of --save-answers.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    save_answers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --diff: keep what was read from the network.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Repeat stored events: new deliveries for today's handlers, behind live ones; history stays.

    Beside a running server, that runs them; else this command does, until they have ended.
    Ctrl-C pauses it. The exit status is 1 if some deliveries are dead in the end.

    Example: clarihook replay run --type 'data_source.*' --since yesterday --state dead

    Example: clarihook replay --type '*' --where 'event.data.remaining < 10' --dry-run

    Example: clarihook replay --channel ops --since 2h --state dead

    Example: clarihook replay --handler billing_credits_low.warn --since 30d --dry-run --diff

    Example: clarihook replay evt_01a209162ace --to http://localhost:3000/hooks
    """
    since_ms, until_ms = span_ms(since, until)
    if not (dry_run or ids or type_ or source or since or until or where or state or channel):
        raise UsageError(
            "say which: ids, --type, --source, --since, --until, --where, --state, --channel; "
            "all of them are --type '*'"
        )
    if no_notify and (messages or channel is not None):
        given = "--messages" if channel is None else "--channel"
        raise UsageError(f"{given} sends messages and --no-notify sends none; give one of them")
    check_rate(rate)
    elsewhere = Elsewhere(
        url=to, scheme=scheme, secret=secret, as_received=as_received, allow_private=allow_private
    )
    elsewhere.check(runs=(handler, channel, messages or None, no_notify or None))
    if diff and not (dry_run and handler is not None):
        raise UsageError(
            "--diff compares one handler and sends nothing: add --handler NAME --dry-run"
        )
    if (answers or save_answers) and not diff:
        raise UsageError("--answers and --save-answers are for --diff; add it, or leave them out")
    settings = load_settings(home)
    registry = registry_of(settings, handler)
    selection = Selection(
        ids=asyncio.run(_full_ids(settings, ids)) if ids else (),
        types=tuple(type_ or ()),
        sources=tuple(source or ()),
        since_ms=since_ms,
        until_ms=until_ms,
        where=None if where is None else checked_condition(where),
        states=tuple(state or ()),
        handler=handler,
        channel=channel,
        messages_only=messages or channel is not None,
        quiet=no_notify,
        limit=limit,
        newest=order == "newest",
    )
    asyncio.run(check_known(settings, types=type_, sources=source, channel=channel))
    if diff:
        from receiver.cli.answers import api_answers  # noqa: PLC0415
        from receiver.cli.time_travel import Network, time_travel  # noqa: PLC0415

        assert handler is not None, "a diff is of one handler"
        network = Network(
            answers=None if answers is None else api_answers(answers.read()), save_to=save_answers
        )
        time_travel(settings, selection, registry.get(handler), network, as_json=as_json)
    elif dry_run:
        from receiver.cli.preview import preview  # noqa: PLC0415

        preview(settings, registry, selection, to=to, as_json=as_json)
    elif to is not None:
        from receiver.cli.resend import CONNECTIONS, resend  # noqa: PLC0415

        how = elsewhere.resend(settings, rate, concurrency or CONNECTIONS)
        if not resend(settings, selection, how, as_json=as_json):
            raise typer.Exit(1)
    else:
        from receiver.cli.hosting import Pace, host_replay  # noqa: PLC0415

        pace = Pace(events_per_second=rate, concurrency=concurrency)
        host_replay(settings, registry, pace, as_json=as_json, selection=selection)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The options that say where else to send, as they were given."""

    url: str | None
    scheme: str | None
    secret: str | None
    as_received: bool
    allow_private: bool

    def check(self, *, runs: Sequence[object]) -> None:
        """Raises UsageError for options that don't go together; `runs` are those of a replay."""
        signing = self.scheme is not None or self.secret is not None
        if self.url is None and (signing or self.as_received or self.allow_private):
            raise UsageError(
                "--scheme, --secret, --as-received and --allow-private are for another address; "
                "say which: --to URL"
            )
        if self.url is not None and any(given is not None for given in runs):
            raise UsageError(
                "--to sends the events themselves and runs nothing; leave out --handler, "
                "--channel, --messages and --no-notify"
            )
        if self.as_received and signing:
            raise UsageError("--as-received signs nothing; leave out --scheme and --secret")
        if (self.scheme is None) != (self.secret is None):
            raise UsageError("--scheme and --secret go together")

    def resend(self, settings: Settings, rate: float | None, connections: int) -> "Resend":
        """How to send. Raises UsageError or ConfigError for a secret that can't be one."""
        from receiver.cli.resend import Resend  # noqa: PLC0415
        from receiver.cli.secrets import resolve  # noqa: PLC0415

        assert self.url is not None, "there is another address"
        built = None
        if self.scheme is not None and self.secret is not None:
            secret = resolve("--secret", self.secret, settings.home)
            built = build_scheme(SchemeSpec(scheme=self.scheme), [secret])
        return Resend(
            url=self.url,
            as_received=self.as_received,
            scheme=built,
            allow_private=self.allow_private,
            events_per_second=rate,
            connections=connections,
        )


def check_rate(rate: float | None) -> None:
    """Raises UsageError for a --rate at which nothing would ever be done."""
    if rate is not None and not rate > 0:
        raise UsageError(f"--rate {rate:g} would never end; give a number above 0")


def registry_of(settings: Settings, handler: str | None) -> "Registry":
    """Today's handlers. Raises UsageError if `handler` is none of them."""
    from receiver.engine import load_registry  # noqa: PLC0415 - slow; `list` needs none
    from receiver.notify import routes  # noqa: PLC0415

    registry = load_registry(settings)
    if handler is not None and handler != routes.NAME:
        find_handler(registry, handler)
    return registry


async def _full_ids(settings: Settings, texts: list[str]) -> tuple[str, ...]:
    """The ids that the texts mean, each once, however often and in whatever way it is written."""
    async with opened(settings, "reader") as store:
        found = [(await find_event(store, text)).id for text in texts]
    return tuple(dict.fromkeys(found))
