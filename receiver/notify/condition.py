"""A condition on an event, in CEL: what a route's `when` and a replay's `--where` say."""

import re
from typing import Any

from receiver.model import Event
from receiver.notify.facts import MAX_VALUES, Facts, Path, Size, paths_in

MAX_STEPS = 250_000
"""More are not made, as a step takes about a microsecond in which nothing else runs."""

# `list.all(x, …)` and its like: what binds a variable goes through all values.
_MACRO = re.compile(r"\.\s*(\w+)\s*\(\s*[A-Za-z_]\w*\s*,", re.ASCII)
_POWERS = {"all": 1, "exists": 1, "exists_one": 1, "existsOne": 1, "filter": 2}
_OTHERS_POWER = 3
"""Measured: a macro that makes a list copies, with each value, all that it has by then."""
# What may go through a list by itself, unless one side is a plain number or text. Measured: it
# costs as much for each value as a macro does; to join lists costs still more.
_LITERAL = r"(?:-?\d|['\"]|true\b|false\b|null\b)"
_THROUGH_ALL = re.compile(
    rf"(?<!\w)in(?!\w)|(?<!\w)(?:contains|max|min)\s*\(|(?:==|!=)(?!\s*{_LITERAL})", re.ASCII
)
_JOINED = re.compile(rf"\+(?!\s*{_LITERAL})", re.ASCII)
_TEXTS = re.compile(
    # Raw ones, in which a backslash is a letter; others; and comments.
    r"""(?<!\w)[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    r"""|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*""",
    re.DOTALL,
)
IS_FALSE = "is false"
"""What most conditions say of most events: compared by identity where many are asked."""
_CHARACTERS_PER_STEP = 2000
"""What CEL's own functions go through in the time of a step, or less."""


class Condition:
    """A CEL expression over `event` (the body), `source` and `received_at`, compiled once.

    `receiver.settings.checks.parse_cel` tells a user what is wrong with one.
    """

    __slots__ = ("_execute", "_power", "_values", "paths", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError for what is no CEL."""
        import cel  # noqa: PLC0415 - 0.2 s of import that what has no conditions need not pay

        self.text = text
        self.paths: frozenset[Path] = paths_in(text)
        """What it looks at of the body."""
        self._execute = cel.compile(text).execute
        bare = _TEXTS.sub('""', text)
        self._power = max(map(_power, _terms(bare)))
        self._values = bare.count(",")  # lists that stand in it count too

    def refusal(self, event: Event) -> str | None:
        """Why the event does not fit, to be said after the condition's name; None if it fits.

        Raises ValueError for an event whose body is no JSON: it has no values to decide by.
        """
        return self.refusal_by(Facts(event, self.paths))

    def refusal_by(self, facts: Facts) -> str | None:
        """As `refusal`, by facts on this condition's paths and maybe on those of others.

        Where all of these are too many, its own decide.
        """
        if (self._power or not facts.is_small) and self._is_too_much(facts):
            facts = Facts(facts.event, self.paths)
            too_much = self._too_much(facts.size)
            if too_much is not None:
                return f"could not be decided: {too_much}"
        try:
            result: Any = self._execute(facts.context)
        except Exception as error:  # CEL's errors have no common base
            # A field that is not there is a KeyError, whose text is the bare name.
            cause = f"there is no field {error}" if isinstance(error, KeyError) else error
            return f"could not be decided: {cause}"
        if result is True:
            return None
        return IS_FALSE if result is False else f"gave {result!r}, not true or false"

    def _is_too_much(self, facts: Facts) -> bool:
        # To count is dear, and seldom needed.
        return self._too_much(facts.most) is not None and self._too_much(facts.size) is not None

    def _too_much(self, size: Size) -> str | None:
        """Why it would take too long; None if it does not."""
        if size.values > MAX_VALUES:
            return f"it looks at more than {MAX_VALUES:,} values"
        if not self._power:
            return None
        steps = (size.values + self._values) ** self._power * (
            1 + size.longest_text // _CHARACTERS_PER_STEP
        )
        if steps > MAX_STEPS:
            return f"it would go through {size.values:,} values in more than {MAX_STEPS:,} steps"
        return None


def _power(term: str) -> int:
    """How often the number of values multiplies with itself, at most, into the steps that a term
    takes: 0 if it has no loop at all.

    >>> _power("event.a.all(x, x > 1)"), _power("event.a.exists(x, x in event.b)")
    (1, 2)
    >>> _power("event.a.map(x, event.b.all(y, y > x))"), _power("event.a in event.b")
    (4, 0)
    """
    macros = [_POWERS.get(name, _OTHERS_POWER) for name in _MACRO.findall(term)]
    if not macros:
        return 0
    return sum(macros) + bool(_THROUGH_ALL.search(term)) + 2 * bool(_JOINED.search(term))


def _terms(text: str) -> list[str]:
    """The parts of an expression between `&&` and `||`, where these stand outside of brackets."""
    terms, depth, begin = [], 0, 0
    for match in re.finditer(r"[(\[{]|[)\]}]|&&|\|\|", text):
        mark = match[0]
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif depth == 0:
            terms.append(text[begin : match.start()])
            begin = match.end()
    return [*terms, text[begin:]]
