"""Loads the named statements of a `.sql` file."""

import re
from functools import lru_cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROW = re.compile(r"VALUES (\([?, ]+\))")


class Queries:
    """The statements of one file, by name.

    >>> queries = Queries("-- name: add\\nINSERT INTO t (a, b)\\nVALUES (?, ?)\\n")
    >>> queries.rows("add", 2).splitlines()[-1]
    'VALUES (?, ?), (?, ?)'
    """

    def __init__(self, text: str) -> None:
        parts = _NAME.split(text)
        self._sql = {
            name: _strip_comments(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)
        }
        # A fresh string per call would miss sqlite3's statement cache, which looks up by text.
        self.rows = lru_cache(maxsize=2048)(self._rows)

    @classmethod
    def load(cls, filename: str) -> "Queries":
        """Read a file that lies beside this module."""
        return cls(resources.files(__package__).joinpath(filename).read_text("utf-8"))

    def __getitem__(self, name: str) -> str:
        return self._sql[name]

    def _rows(self, name: str, count: int) -> str:
        """The insert `name` with its row of parameters repeated `count` times."""
        return _ROW.sub(lambda row: "VALUES " + ", ".join([row[1]] * count), self._sql[name])


def _strip_comments(body: str) -> str:
    lines = (line for line in body.splitlines() if line and not line.startswith("--"))
    return "\n".join(lines)
