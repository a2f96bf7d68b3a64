"""What went wrong, as text that may be kept: bounded and masked, whatever was raised.

Nothing here fails or takes long: an exception may carry a text of 100 MB, a stack of 100,000
frames, a chain or a group without end. Each piece is cut before it is masked, for masking costs
by length, and masked before anything is put together, for half a secret would not be recognised.
"""

import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType

Redact = Callable[[str], str]

MAX_TRACEBACK_CHARS = 8192
MAX_SECRET_CHARS = 16_384
"""A secret of up to this length is recognised where a text is cut."""

_MAX_TEXT_CHARS = 2048
_MAX_LINE_CHARS = 512
_FIRST_FRAMES, _LAST_FRAMES = 8, 24
_MAX_LINKS = 5
_MAX_NOTES = 5
_MAX_IN_GROUP = 5
_MAX_ERRORS = 20
"""Of all errors in groups and chains together so many are shown."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def masked(text: str, redact: Redact, most: int) -> str:
    """The beginning of a text, masked, in up to `most` characters.

    >>> masked("the password is hunter2, I think", lambda text: text.replace("hunter2", "***"), 20)
    'the password is ***,'
    """
    window = text[: most + MAX_SECRET_CHARS]
    clean = redact(window)
    if len(window) < len(text):
        # The window may end within a secret, which then stands at its end, unmasked.
        clean = clean[: max(0, len(clean) - MAX_SECRET_CHARS)]
    return clean[:most]


def error_text(error: BaseException) -> str:
    """What an exception says, not masked; of a long argument not more than is ever kept."""
    try:
        if type(error).__str__ in _PLAIN and any(map(_is_long, error.args)):
            # To make its text of these is what takes long: a repr looks at each character.
            plain = KeyError if isinstance(error, KeyError) else Exception
            return str(plain(*(each[:_LONG] if _is_long(each) else each for each in error.args)))
        return str(error)
    except Exception:
        return "(its text can't be made)"


_PLAIN = (BaseException.__str__, KeyError.__str__)
_LONG = 65_536


def _is_long(value: object) -> bool:
    return isinstance(value, str | bytes) and len(value) > _LONG


def error_trace(error: BaseException, redact: Redact, *, own_file: str) -> str:
    """The traceback of an exception, masked, without the frames of `own_file` that it begins with.

    In the form of Python's own; of a long one the end is kept.
    """
    text = "".join(_Teller(redact, own_file).tell(error))
    return text if len(text) <= MAX_TRACEBACK_CHARS else "…" + text[1 - MAX_TRACEBACK_CHARS :]


class _Teller:
    """Tells of one exception and of all that hangs on it."""

    def __init__(self, redact: Redact, own_file: str) -> None:
        self._redact = redact
        self._own_file = own_file
        self._seen: set[int] = set()

    def tell(self, error: BaseException) -> Iterator[str]:
        """The exception with those that it came from, the oldest first."""
        links = list(self._links(error))
        for link, joint in reversed(links):
            yield from self._tell_one(link)
            yield joint

    def _links(self, error: BaseException) -> Iterator[tuple[BaseException, str]]:
        """The exception, then what it came from; each with what stands between it and the last."""
        link: BaseException | None = error
        joint = ""
        for _ in range(_MAX_LINKS):
            if link is None or id(link) in self._seen or len(self._seen) >= _MAX_ERRORS:
                return
            self._seen.add(id(link))
            yield link, joint
            if link.__cause__ is not None:
                link, joint = link.__cause__, _CAUSE
            elif link.__context__ is not None and not link.__suppress_context__:
                link, joint = link.__context__, _CONTEXT
            else:
                return

    def _tell_one(self, error: BaseException) -> Iterator[str]:
        if error.__traceback__ is not None:
            yield "Traceback (most recent call last):\n"
            yield from self._tell_frames(error.__traceback__)
        kind = type(error)
        name = kind.__qualname__
        if kind.__module__ not in ("builtins", "__main__"):
            name = f"{kind.__module__}.{name}"
        text = self._masked(error_text(error), _MAX_TEXT_CHARS)
        yield self._masked(name, _MAX_LINE_CHARS) + (f": {text}\n" if text else "\n")
        yield from self._tell_notes(error)
        if isinstance(error, BaseExceptionGroup):
            yield from self._tell_group(error.exceptions)

    def _tell_frames(self, trace: TracebackType) -> Iterator[str]:
        first: list[tuple[FrameType, int]] = []
        last: deque[tuple[FrameType, int]] = deque(maxlen=_LAST_FRAMES)
        left_out = -_LAST_FRAMES
        for frame, line in traceback.walk_tb(trace):
            if not first and frame.f_code.co_filename == self._own_file:
                continue
            if len(first) < _FIRST_FRAMES:
                first.append((frame, line))
            else:
                last.append((frame, line))
                left_out += 1
        yield from self._tell_some(first)
        if left_out > 0:
            yield f"  … {left_out} frames left out\n"
        yield from self._tell_some(last)

    def _tell_some(self, frames: Sequence[tuple[FrameType, int]]) -> Iterator[str]:
        for entry in traceback.StackSummary.extract(iter(frames)).format():
            yield self._masked(entry.rstrip("\n"), _MAX_LINE_CHARS) + "\n"

    def _tell_notes(self, error: BaseException) -> Iterator[str]:
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            for note in notes[:_MAX_NOTES]:
                if isinstance(note, str):
                    yield self._masked(note, _MAX_LINE_CHARS) + "\n"

    def _tell_group(self, errors: Sequence[BaseException]) -> Iterator[str]:
        for number, error in enumerate(errors[:_MAX_IN_GROUP], 1):
            text = "".join(self.tell(error))
            if text:
                yield f"  {number} of {len(errors)}:\n"
                yield "".join(f"    {line}\n" for line in text.splitlines())

    def _masked(self, text: str, most: int) -> str:
        return masked(text, self._redact, most)
