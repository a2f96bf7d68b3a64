"""Where in a TOML file each key stands.

`tomllib` gives values without places and no kept library gives places, so this scans the text a
second time. It is only used on text that `tomllib` has accepted, which keeps it small: it needs
to find keys, not to find faults.
"""

import re
from bisect import bisect_left
from collections import defaultdict

from receiver.settings.problems import KeyPath

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def locate(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every table, key and list element in valid TOML."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    """One pass over the text; `at` is the place reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self._tables: defaultdict[KeyPath, int] = defaultdict(int)
        """How many elements each array of tables has so far."""

    def scan(self) -> None:
        table: KeyPath = ()
        while self._skip(_SPACE) < len(self.text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path of the table that it opens."""
        start, many = self.at, self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        path: KeyPath = ()
        names = self._key()
        for depth, name in enumerate(names):
            path = (*path, name)
            if path in self._tables and not (many and depth == len(names) - 1):
                path = (*path, self._tables[path] - 1)
        self._skip(_BLANK)
        self.at += 2 if many else 1
        if many:
            self._mark(path, start)
            self._tables[path] += 1
            path = (*path, self._tables[path] - 1)
        self._mark(path, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        """`a.b = value`, in a table or in an inline table."""
        start = self.at
        path = table
        for name in self._key():
            path = (*path, name)
            self._mark(path, start)
        self._skip(_BLANK)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, as its names."""
        names = []
        while True:
            self._skip(_BLANK)
            start = self.at
            quoted = self.text[start] in "\"'"
            self._skip(_STRING if quoted else _BARE_KEY)
            names.append(self.text[start + quoted : self.at - quoted])
            self._skip(_BLANK)
            if not self._peek("."):
                return names
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        if self._peek("["):
            self._elements(path, "]")
        elif self._peek("{"):
            self._elements(path, "}")
        elif self._peek('"') or self._peek("'"):
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _elements(self, path: KeyPath, end: str) -> None:
        """What is in a list, or in an inline table."""
        self.at += 1
        index = 0
        while self._skip(_SPACE) < len(self.text) and not self._peek(end):
            if self._peek(","):
                self.at += 1
            elif end == "]":
                self._mark((*path, index), self.at)
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
        self.at += 1

    def _mark(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, bisect_left(self._line_ends, at) + 1)

    def _peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Move past what matches here, if anything does."""
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at
