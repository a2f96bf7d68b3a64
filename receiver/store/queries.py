"""Loads the named statements of a `.sql` file."""

import re
from functools import lru_cache
from importlib import resources

_NAME = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_ROW = re.compile(r"VALUES (\([?, ]+\))")


class Queries:
    """The statements of one file, by name.

    >>> queries = Queries("-- name: add\\nINSERT INTO t (a, b)\\nVALUES (?, ?)\\n")
    >>> queries.rows("add", 2).splitlines()[-1]
    'VALUES (?, ?), (?, ?)'

    What several statements have in common is a fragment before them:

    >>> text = "-- fragment: big\\nWHERE a > 9\\n-- name: n\\nSELECT a FROM t\\n-- include: big\\n"
    >>> Queries(text)["n"].splitlines()
    ['SELECT a FROM t', 'WHERE a > 9']
    """

    def __init__(self, text: str) -> None:
        parts = _NAME.split(text)
        fragments: dict[str, str] = {}
        self._sql: dict[str, str] = {}
        for kind, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            if kind == "fragment":
                fragments[name] = body
            else:
                whole = _INCLUDE.sub(lambda found: fragments[found[1]], body)
                self._sql[name] = _strip_comments(whole)
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
