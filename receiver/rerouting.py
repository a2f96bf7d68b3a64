"""What becomes of stored events under other settings: which would reach somebody else now."""

from collections.abc import Iterator, Set

from receiver.model import Event
from receiver.notify.routes import Verdict
from receiver.wiring import Wiring

MOST_NAMES = 8
"""So many differences of one event are named."""


def difference(before: Wiring, after: Wiring, event: Event) -> str | None:
    """`+finance -ops (route 3 "billing")`: who would hear of the event now, and who no more.

    None if that is the same. Names handlers, channels (a target where only that is new) and
    forwards, and the routes that are behind it. Holds no part of the event.
    """
    old, new = _reached(before, event), _reached(after, event)
    if old.keys() == new.keys():
        return None
    gone, come = old.keys() - new.keys(), new.keys() - old.keys()
    words = [f"+{name}" for name in _named(come, old.keys())]
    words += [f"-{name}" for name in _named(gone, new.keys())]
    more = [f"and {len(words) - MOST_NAMES} more"] if len(words) > MOST_NAMES else []
    routes = {label for name in come for label in new[name]}
    routes |= {label for name in gone for label in old[name]}
    behind = f" ({', '.join(sorted(routes)[:MOST_NAMES])})" if routes else ""
    return " ".join(words[:MOST_NAMES] + more) + behind


def _reached(wiring: Wiring, event: Event) -> dict[str, set[str]]:
    """The names of handlers, targets and forwards, with the routes that lead there."""
    reached: dict[str, set[str]] = {
        handler.name: set() for handler in wiring.registry.matching(event.type)
    }
    try:
        verdicts = wiring.table.explain(event)
    except ValueError:  # a signed body that was kept although it is no event
        return {}
    for verdict in verdicts:
        if verdict.refusal is None:
            for name in _names(wiring, verdict):
                reached.setdefault(name, set()).add(_label(verdict))
    return reached


def _names(wiring: Wiring, verdict: Verdict) -> Iterator[str]:
    for message in verdict.messages:
        yield from wiring.notifier.channels.get(message.channel, ())
    if verdict.forward is not None:
        yield verdict.forward.channel


def _label(verdict: Verdict) -> str:
    name = verdict.settings.name
    return f'route {verdict.number} "{name}"' if name else f"route {verdict.number}"


def _named(names: Set[str], others: Set[str]) -> list[str]:
    """By their channel, where the other side has no target of it."""
    channels = {name.partition("/")[0] for name in others if "/" in name}
    shown = set()
    for name in names:
        channel, _, target = name.partition("/")
        is_whole = target and channel != "forward" and channel not in channels
        shown.add(channel if is_whole else name)
    return sorted(shown)
