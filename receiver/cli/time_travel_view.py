"""How differences between then and now look."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from receiver.cli.output import print_line
from receiver.cli.records import message_record
from receiver.cli.times import iso, shown
from receiver.model import Event
from receiver.replay.comparing import Change, Verdict
from receiver.testing import ApiCall, HandlerRun

Ending = Literal["as before", "would fail", "would succeed"]
AS_BEFORE: Ending = "as before"

_STYLES = {"-": "red", "+": "green"}
_SHOWN_BODY_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One event: what was said of it, and what would be."""

    event: Event
    verdict: Verdict
    changes: list[Change]
    ending: Ending
    run: HandlerRun
    writes: list[ApiCall]

    @property
    def is_one(self) -> bool:
        """Whether anything differs."""
        return self.verdict != "same" or self.ending != AS_BEFORE


def print_difference(difference: Difference) -> None:
    """An event, and a diff of its messages."""
    event, run = difference.event, difference.run
    words = [
        word for word in (difference.verdict, difference.ending) if word not in ("same", AS_BEFORE)
    ]
    print_line(f"{event.id}  {shown(event.received_at)}  {event.type}  {', '.join(words)}", "bold")
    for change in difference.changes:
        for line in change.lines:
            print_line(f"  {line}", _STYLES.get(line[:1], ""))
    if run.outcome not in ("succeeded", "skipped"):
        print_line(f"  {run.outcome}: {run.reason}", "yellow")
    for call in difference.writes:
        body = "" if call.json is None else f"  {json.dumps(call.json)[:_SHOWN_BODY_CHARS]}"
        print_line(f"  not sent: {call}{body}", "dim")


def print_summary(tally: dict[str, Any], handler: str) -> None:
    """All of it in a line or two."""
    counts = [
        f"{tally[name]} {words}"
        for name, words in (
            ("same", "the same"),
            ("changed", "changed"),
            ("new", "new"),
            ("gone", "no longer said"),
            ("would_fail", "would fail"),
            ("would_succeed", "would succeed"),
        )
        if tally[name]
    ]
    events = "1 event" if tally["events"] == 1 else f"{tally['events']} events"
    print_line(f"{events} through {handler}: {', '.join(counts)}", "bold")
    if tally["not_for_it"]:
        print_line(f"{tally['not_for_it']} more are of types that it does not take")
    for call, count in tally["api_writes"].items():
        print_line(f"not sent: {call}" + (f", {count} times" if count > 1 else ""))
    print_line("nothing was sent, nothing was kept")


def difference_record(difference: Difference) -> dict[str, Any]:
    """As JSON has it."""
    event, run = difference.event, difference.run
    return {
        "event_id": event.id,
        "received_at": iso(event.received_at),
        "type": event.type,
        "verdict": difference.verdict,
        "ending": difference.ending,
        "outcome": run.outcome,
        "reason": run.reason or None,
        "changes": [
            {
                "then": None if change.then is None else message_record(change.then),
                "now": None if change.now is None else message_record(change.now),
                "diff": change.lines,
            }
            for change in difference.changes
        ],
        "api_writes": [{"request": str(call), "json": call.json} for call in difference.writes],
    }
