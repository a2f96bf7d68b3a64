"""Deliveries, their attempts and messages, drawn as a tree."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from receiver.cli.output import console
from receiver.cli.records import attempt_record, delivery_record, message_record, reason_of
from receiver.cli.times import duration, iso, shown
from receiver.model import Attempt, Message, State, format_delivery_id
from receiver.printable import printable
from receiver.stories import Story

STYLES: Mapping[State, str] = {
    State.PENDING: "cyan",
    State.RUNNING: "blue",
    State.RETRYING: "yellow",
    State.HELD: "magenta",
    State.SUCCEEDED: "green",
    State.DEAD: "red",
    State.CANCELLED: "dim",
}


def story_record(story: Story) -> dict[str, Any]:
    """As JSON has it."""
    return {
        **delivery_record(story.delivery),
        "message": None if story.message is None else message_record(story.message),
        "attempts": [attempt_record(attempt) for attempt in story.attempts],
    }


def print_stories(title: str, stories: Sequence[Story]) -> None:
    """Draw the tree."""
    tree = Tree(Text(printable(title), style="bold"), guide_style="dim")
    for story in stories:
        _grow(tree, story)
    console().print(tree, soft_wrap=True)


def states_line(states: Mapping[State, int]) -> str:
    """`3 succeeded, 1 dead`, in the order of the states."""
    return ", ".join(f"{states[state]} {state}" for state in State if states.get(state))


def states_text(states: Mapping[State, int]) -> Text:
    """The same in the states' colours."""
    parts = [(f"{states[state]} {state}", STYLES[state]) for state in State if states.get(state)]
    return Text(", ").join(Text(*part) for part in parts)


def _grow(tree: Tree, story: Story) -> None:
    delivery = story.delivery
    head = Text.assemble(
        format_delivery_id(delivery.id), "  ", printable(delivery.name), "  ",
        (delivery.state.value, STYLES[delivery.state]),
    )  # fmt: skip
    if not delivery.state.is_final and delivery.state is not State.RUNNING:
        head.append(f", due {shown(delivery.due_at)}")
    if delivery.replay_id is not None:
        head.append(f", of replay {delivery.replay_id}")
    if delivery.fallback_of is not None:
        head.append(f", fallback of {format_delivery_id(delivery.fallback_of)}")
    branch = tree.add(head)
    if delivery.key is not None:
        branch.add(f"key {printable(delivery.key)}")
    if story.message is not None:
        branch.add(_message_lines(story.message))
    reason = reason_of(delivery)
    if reason and not any(a.error and a.error in reason for a in story.attempts):
        branch.add(Text(printable(reason)))
    for attempt in story.attempts:
        _grow_attempt(branch, attempt, delivery.max_attempts)


def _message_lines(message: Message) -> Text:
    lines = [f"message to {message.channel}, {message.severity}: {message.title}"]
    lines += [f"  {line}" for line in message.body.splitlines()]
    return Text("\n".join(printable(line) for line in lines))


def _grow_attempt(branch: Tree, attempt: Attempt, most: int) -> None:
    parts = [
        f"attempt {attempt.number} of {most}",
        iso(attempt.started_at),
        duration(attempt.duration_ms),
        attempt.outcome.value,
    ]
    if attempt.status_code is not None:
        parts.append(f"HTTP {attempt.status_code}")
    if attempt.possible_duplicate:
        parts.append("possible duplicate")
    leaf = branch.add(Text("  ".join(parts)))
    if attempt.error_class is not None:
        error = f"{attempt.error_class}: {attempt.error or ''}".rstrip(": ")
        leaf.add(Text("\n".join(map(printable, error.splitlines())), style="red"))
    if attempt.traceback:
        lines = attempt.traceback.rstrip().splitlines()
        leaf.add(Text("\n".join(map(printable, lines)), style="dim"))
