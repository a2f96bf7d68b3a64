"""`clarihook doctor`: is everything right, and does this disk keep what it is given?"""

import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.errors import ClarihookError, ConfigError, UsageError

if TYPE_CHECKING:
    from receiver.doctor import Finding
    from receiver.doctor.crash_test import CrashReport, Round

_ROUNDS = 5
_MOST_NAMED = 10
_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def doctor(
    *,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the clariBI API who the account is.")
    ] = False,
    crash_test: Annotated[
        bool,
        typer.Option(
            "--crash-test",
            help="Kill a throwaway server under load, on this disk, and count what is left.",
        ),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="With --crash-test: how many kills.", show_default="5"),
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Check everything: settings, handlers, channels, the disk, the database, what is stuck in it.

    One line for each check, ok, warning or fault, with its remedy. A server may run; nothing is
    changed. The exit status is 1 if something is at fault.

    Example: clarihook doctor --home my-hooks

    Example: clarihook doctor --crash-test --rounds 20
    """
    if rounds is not None and not crash_test:
        raise UsageError("--rounds is for --crash-test; add that, or leave it out")
    if crash_test and online:
        raise UsageError("--online and --crash-test are two things; run one after the other")
    if crash_test:
        _crash_test(home, rounds or _ROUNDS, as_json=as_json)
    else:
        _examine(home, is_online=online, as_json=as_json)


def _examine(home: Path, *, is_online: bool, as_json: bool) -> None:
    # Slow to import: it brings all that runs deliveries.
    from receiver.doctor import Finding, Verdict, examine  # noqa: PLC0415
    from receiver.observe import configure_logging  # noqa: PLC0415

    configure_logging("error")
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            line = f"{finding.verdict:8} {finding.check:12} {finding.text}{remedy}"
            print_line(" ".join(line.split("\n")), _STYLES[finding.verdict])

    for finding in examine(home):
        tell(finding)
    if is_online:
        tell(_ask_claribi(home))
    counts = {each: sum(f.verdict is each for f in findings) for each in Verdict}
    if as_json:
        print_json({"ok": not counts[Verdict.FAULT], "findings": [asdict(f) for f in findings]})
    else:
        print_line(", ".join(f"{count} {each}" for each, count in counts.items()))
    if counts[Verdict.FAULT]:
        raise typer.Exit(1)


def _ask_claribi(home: Path) -> "Finding":
    from receiver.cli.claribi.account import connect  # noqa: PLC0415 - slow
    from receiver.doctor.finding import fault, ok  # noqa: PLC0415

    try:
        with connect(home) as client:
            status = client.auth.status()
    except ClarihookError as error:
        return fault("claribi-api", str(error), "see [claribi] in the settings")
    return ok("claribi-api", f"answers {status.user.email} of {status.organization.name}")


def _crash_test(home: Path, rounds: int, *, as_json: bool) -> None:
    from receiver.doctor.crash_test import run_crash_test  # noqa: PLC0415 - slow
    from receiver.settings import load_settings  # noqa: PLC0415

    database = load_settings(home, needs_secrets=False).sqlite_path
    if database is None:
        raise ConfigError("store.url: the crash test is for a database that is a file")

    def tell(done: "Round") -> None:
        if not as_json:
            print_line(
                f"round {done.number} of {rounds}: ready after {done.start_seconds:.1f} s, killed "
                f"{done.seconds:.2f} s after the first answer, {done.accepted} events accepted"
            )

    # As Ctrl-C: the server and the folder are ours to clean up.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if not database.parent.is_dir():
            raise UsageError(
                f"{database.parent}: there is no such folder yet. Start `clarihook serve` once, "
                "or check --home and store.url."
            )
        report = run_crash_test(database.parent, rounds=rounds, on_round=tell)
    except OSError as error:
        raise ClarihookError(f"{database.parent}: the test can't be done: {error}") from None
    if as_json:
        print_json(_as_document(report))
    else:
        _print_report(report)
    if not report.is_sound:
        raise typer.Exit(1)


def _as_document(report: "CrashReport") -> dict[str, Any]:
    return {
        "ok": report.is_sound,
        "rounds": [asdict(each) for each in report.rounds],
        "accepted": len(report.answers.accepted),
        "stored": report.stored,
        "handled": report.stored - len(report.unhandled),
        "unanswered": report.answers.cut,
        "refused": report.answers.refused,
        "lost": report.lost,
        "unhandled": report.unhandled,
        "problems": report.problems,
        "handled_again": report.handled_again,
        "messages_again": report.messages_again,
        "accept_ms": _percentiles(report.answers.latencies_ms),
        "fsync_ms": _percentiles(report.syncs_ms),
    }


def _print_report(report: "CrashReport") -> None:
    found = _as_document(report)
    accept, fsync = found["accept_ms"], found["fsync_ms"]
    print_line()
    print_table(
        ("what", "count"),
        [
            ("kills", len(report.rounds)),
            ("accepted", found["accepted"]),
            ("sent, and cut off before the answer", found["unanswered"]),
            ("refused", found["refused"]),
            ("stored", found["stored"]),
            ("handled, and its message sent", found["handled"]),
            ("accepted, and lost", len(report.lost)),
            ("handled again, since a kill cut it off", found["handled_again"]),
            ("message sent again, since a kill cut it off", found["messages_again"]),
        ],
    )
    print_line()
    print_line(f"acceptance  p50 {accept['p50']} ms, p99 {accept['p99']} ms")
    print_line(f"fsync       p50 {fsync['p50']} ms, p99 {fsync['p99']} ms")
    named = [
        *(f"{event}: accepted, and lost" for event in report.lost),
        *(f"{event}: stored, and not handled" for event in report.unhandled),
        *report.problems,
    ]
    for line in named[:_MOST_NAMED]:
        print_line(line, "red")
    if len(named) > _MOST_NAMED:
        print_line(f"and {len(named) - _MOST_NAMED} more: --json names all", "red")
    if report.is_sound:
        print_line(
            "Sound: whatever was accepted is stored, and what is stored was handled.", "green"
        )
    else:
        print_line("This disk, or clarihook on it, loses what it has accepted.", "bold red")


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        f"p{percent}": round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)
        for percent in (50, 99)
    }
