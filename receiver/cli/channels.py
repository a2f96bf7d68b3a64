"""`clarihook channels`: which there are, how they stand, and whether a message gets through."""

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from receiver.cli.authors import os_user
from receiver.cli.deployment import store_of
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.times import iso
from receiver.durations import format_duration
from receiver.errors import UsageError
from receiver.model import Message, Outcome, Severity, from_ms
from receiver.notify import Notifier, SendResult
from receiver.quiet import WEEKDAYS
from receiver.settings import Settings, load_settings
from receiver.settings.channels import ChannelSettings
from receiver.settings.problems import name_hint
from receiver.store.base import OpenCircuit

app = typer.Typer(help="List the channels, and see whether a message gets through.")

_COLOURS = {Outcome.DELIVERED: "green", Outcome.PERMANENT: "red"}


@app.command("list")
def list_(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """List every channel's targets, their limits, what waits for them, and open circuits.

    Below them stands what holds a channel's messages, and its fallback.

    Example: clarihook channels list
    """
    settings = load_settings(home)
    rows = asyncio.run(_rows(settings))
    if as_json:
        print_json(rows)
    elif not rows:
        print_line("no channels yet; add one to config/clarihook.toml")
    else:
        columns = ("target", "rate", "at a time", "timeout", "waiting", "circuit")
        print_table(columns, [_cells(row) for row in rows])
        for name, channel in settings.channels.items():
            if rules := _rules(channel):
                print_line(f"{name}: {'; '.join(rules)}")


@app.command("test")
def send_test(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Channels, or single targets such as ops/1-slack."),
    ],
    *,
    severity: Annotated[Severity, typer.Option(help="The message's severity.")] = Severity.INFO,
    text: Annotated[str | None, typer.Option("--text", help="The message's text.")] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Send a message that is marked [TEST] to each target once, and show how that ended.

    No server is needed, nothing is stored and nothing is tried again; quiet hours, silences,
    digests, throttles and the fallback play no part. The exit status is 1 if a target did not
    take it.

    Example: clarihook channels test ops

    Example: clarihook channels test ops/1-slack --severity critical
    """
    settings = load_settings(home)
    tests = asyncio.run(_send(settings, names, severity, text))
    if as_json:
        print_json([each.row() for each in tests])
    else:
        for each in tests:
            _print_test(each)
    if any(each.result.outcome is not Outcome.DELIVERED for each in tests):
        raise typer.Exit(1)


async def _rows(settings: Settings) -> list[dict[str, Any]]:
    notifier = Notifier.from_settings(settings.channels, home=settings.home)
    waiting: dict[str, int] = {}
    circuits: dict[str, OpenCircuit] = {}
    store = store_of(settings, "reader", must_exist=False)
    if store.path.exists():
        await store.open()
        try:
            waiting = await store.waiting()
            circuits = {each.name: each for each in await store.open_circuits()}
        finally:
            await store.close()
    rows = []
    for channel, targets in notifier.channels.items():
        of = settings.channels[channel]
        for name in targets:
            circuit = circuits.get(name)
            until_ms = None if circuit is None else circuit.open_until_ms
            rows.append({
                "channel": channel,
                "target": name,
                "rate": None if of.rate is None else str(of.rate),
                "concurrency": of.concurrency,
                "timeout_seconds": of.timeout.total_seconds(),
                "waiting": waiting.get(name, 0),
                "circuit": "closed" if until_ms is None else "open",
                "open_until": None if until_ms is None else iso(from_ms(until_ms)),
                "reason": None if circuit is None else circuit.reason,
                "rules": _rules(of),
                "fallback": of.fallback,
            })  # fmt: skip
    return rows


def _rules(channel: ChannelSettings) -> list[str]:
    """What holds a channel's messages, and where they go if they can't be sent, in words."""
    rules = []
    if (quiet := channel.quiet_hours) is not None:
        days = "" if quiet.days == WEEKDAYS else f" on {', '.join(quiet.days)}"
        unless = "" if quiet.unless is None else f", unless {quiet.unless} or worse"
        span = f"{quiet.from_:%H:%M} to {quiet.until:%H:%M} {quiet.timezone}"
        rules.append(f"quiet hours {span}{days}{unless}")
    if channel.group_by is not None:
        by = ", ".join(channel.group_by) or "all together"
        wait, every = format_duration(channel.wait), format_duration(channel.every)
        rules.append(f"grouped by {by}, after {wait}, then every {every}")
    if channel.throttle is not None:
        by = f" by {', '.join(channel.throttle_by)}" if channel.throttle_by else ""
        rules.append(f"at most {channel.throttle}{by}")
    if channel.fallback is not None:
        rules.append(f"fallback {channel.fallback}")
    return rules


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    circuit = row["circuit"]
    if circuit == "open":
        circuit = f"open until {row['open_until']}: {row['reason']}"
    return (
        row["target"],
        row["rate"],
        row["concurrency"],
        f"{row['timeout_seconds']:g} s",
        row["waiting"],
        circuit,
    )


@dataclass(frozen=True, kw_only=True)
class _Test:
    target: str
    result: SendResult
    duration_ms: float

    def row(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "outcome": self.result.outcome,
            "status_code": self.result.status_code,
            "duration_ms": round(self.duration_ms, 1),
            "error_class": self.result.error_class,
            "error": self.result.error,
            "retry_after_seconds": self.result.retry_after_seconds,
        }


async def _send(
    settings: Settings, names: list[str], severity: Severity, text: str | None
) -> list[_Test]:
    notifier = Notifier.from_settings(settings.channels, home=settings.home)
    targets = _chosen(notifier, names)
    sender = f"{os_user()}@{socket.gethostname()}"
    body = text or f"Sent by {sender} with `clarihook channels test`. Nothing has happened."

    async def send(name: str) -> _Test:
        message = Message(
            channel=name.partition("/")[0], title=f"[TEST] {name}", body=body, severity=severity
        )
        begun = time.perf_counter()
        result = await notifier.get(name).send(message)
        return _Test(target=name, result=result, duration_ms=(time.perf_counter() - begun) * 1000)

    try:
        return await asyncio.gather(*(send(name) for name in targets))
    finally:
        await notifier.close()


def _chosen(notifier: Notifier, names: list[str]) -> list[str]:
    """The targets of these channels, and these targets, each once. Raises UsageError."""
    chosen: dict[str, None] = {}
    for name in names:
        if name in notifier.channels:
            chosen |= dict.fromkeys(notifier.channels[name])
            continue
        known = [each for targets in notifier.channels.values() for each in targets]
        if name not in known:
            hint = name_hint(name, [*notifier.channels, *known])
            raise UsageError(f'there is no channel or target "{name}"; {hint}')
        chosen[name] = None
    return list(chosen)


def _print_test(test: _Test) -> None:
    result = test.result
    status = "" if result.status_code is None else f", HTTP {result.status_code}"
    line = f"{test.target}: {result.outcome}{status}, {test.duration_ms:.0f} ms"
    print_line(line, _COLOURS.get(result.outcome, "yellow"))
    if result.retry_after_seconds:
        print_line(f"  it asks to be left alone for {result.retry_after_seconds:g} s", "yellow")
    if result.error:
        print_line(f"  {result.error_class}: {result.error.removeprefix(f'{test.target}: ')}")
