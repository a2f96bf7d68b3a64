"""A condition on an event, in CEL: what a route's `when` and a replay's `--where` say."""

from typing import Any

from receiver.model import Event


class Condition:
    """A CEL expression over `event` (the body), `source` and `received_at`, compiled once.

    `receiver.settings.checks.parse_cel` tells a user what is wrong with one.
    """

    __slots__ = ("_program", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError for what is no CEL."""
        import cel  # noqa: PLC0415 - 0.2 s of import that what has no conditions need not pay

        self.text = text
        self._program = cel.compile(text)

    def refusal(self, event: Event) -> str | None:
        """Why the event does not fit, to be said after the condition's name; None if it fits.

        Raises ValueError for an event whose body is no JSON: it has no values to decide by.
        """
        values = {"event": event.json, "source": event.source, "received_at": event.received_at}
        try:
            result: Any = self._program.execute(values)
        except Exception as error:  # CEL's errors have no common base
            # A field that is not there is a KeyError, whose text is the bare name.
            cause = f"there is no field {error}" if isinstance(error, KeyError) else error
            return f"could not be decided: {cause}"
        if result is True:
            return None
        return "is false" if result is False else f"gave {result!r}, not true or false"
