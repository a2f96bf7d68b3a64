"""Silences: which message is kept back by whom, and until when. Pure but for compiling CEL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from receiver.holds import Hold
from receiver.model import Event, Message, Silence, to_ms
from receiver.notify.condition import Condition
from receiver.patterns import compile_patterns
from receiver.printable import storable

log = structlog.get_logger("receiver.notify")


def _anything(_name: str) -> bool:
    return True


def _fits(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    return compile_patterns(patterns) if patterns else _anything


@dataclass(frozen=True, kw_only=True)
class _Matcher:
    """A silence, compiled."""

    silence: Silence
    type_fits: Callable[[str], bool]
    source_fits: Callable[[str], bool]
    channel_fits: Callable[[str], bool]
    condition: Condition | None
    ends_ms: int

    def matches(self, message: Message, event: Event) -> bool:
        """Whether all that it says holds. The condition, which costs most, comes last."""
        severities = self.silence.severities
        return (
            self.channel_fits(message.channel)
            and self.type_fits(event.type)
            and self.source_fits(event.source)
            and (not severities or message.severity in severities)
            and (self.condition is None or _holds(self.condition, event))
        )


def _holds(condition: Condition, event: Event) -> bool:
    """Whether it is true; one that can't be decided silences nothing."""
    try:
        return condition.refusal(event) is None
    except (ValueError, RecursionError):  # a signed body that was kept although it is no JSON
        return False


class Silencer:
    """Some silences, compiled once. Those that are over hold nothing back."""

    def __init__(self, silences: Sequence[Silence] = ()) -> None:
        matchers = [matcher for each in silences if (matcher := _compile(each)) is not None]
        # What several match is held by the one that ends last: it comes out only after that.
        self._matchers = sorted(matchers, key=lambda each: (-each.ends_ms, each.silence.id))

    def silence_of(self, message: Message, event: Event, now_ms: int) -> Silence | None:
        """The silence that keeps the message back at that moment; None if none does."""
        for matcher in self._matchers:
            if matcher.ends_ms <= now_ms:
                return None
            if matcher.matches(message, event):
                return matcher.silence
        return None

    def __call__(self, message: Message, event: Event, now_ms: int) -> Hold | None:
        """The same as a hold: see `receiver.notify.outbox.Silenced`."""
        silence = self.silence_of(message, event, now_ms)
        if silence is None:
            return None
        return Hold(
            "silence",
            reason_of(silence),
            to_ms(silence.ends_at),
            group=f"silence {silence.id}",
            silence=silence.id,
        )


def reason_of(silence: Silence) -> str:
    """What a message says that is held by it."""
    end = f"{silence.ends_at:%Y-%m-%d %H:%M} UTC"
    return storable(f"silence {silence.id} until {end}, by {silence.author}: {silence.comment}")


def _compile(silence: Silence) -> _Matcher | None:
    try:
        condition = None if silence.where is None else Condition(silence.where)
    except ValueError as error:  # `silence add` takes none such; another version may have
        log.error("silence.not_understood", silence=silence.id, where=str(error))
        return None
    return _Matcher(
        silence=silence,
        type_fits=_fits(silence.types),
        source_fits=_fits(silence.sources),
        channel_fits=_fits(silence.channels),
        condition=condition,
        ends_ms=to_ms(silence.ends_at),
    )
