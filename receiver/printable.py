"""Text from outside, made safe to print, in a terminal or a log line, and safe to store."""

import re

_UNPRINTABLE = re.compile(
    # Controls, line separators, direction overrides (they make text read as other text), and
    # lone surrogates, which no encoding can hold.
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: object) -> str:
    r"""The text with everything escaped that could end a line, move the cursor, recolour or hide.

    >>> printable("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def storable(text: str) -> str:
    r"""The text without what a database can't hold: lone surrogates (a file name in an error
    has them) and, for PostgreSQL, NUL.

    >>> storable("no file caf\udce9")
    'no file caf?'
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
