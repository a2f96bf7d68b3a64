"""Reads the tables of docs/claribi-api.md."""

import re
from pathlib import Path

from reference_text import Element

DOC = Path(__file__).parents[2] / "docs/claribi-api.md"

_TITLES = {"Common query parameters": "lists", "Error codes": "errors", "Webhooks": "webhooks"}


def tables() -> list[tuple[str, list[list[str]]]]:
    """Each table's heading and its rows, without the head."""
    found = []
    for section in re.split(r"^##+ ", DOC.read_text(), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]
        if rows:
            found.append((title, rows))
    return found


def reference_rows() -> dict[Element, str]:
    """The rows of "Every line of the reference", and what they say of the client."""
    return {
        Element(_TITLES.get(title, title), row[1], row[0].strip("`")): row[2]
        for title, rows in tables()
        for row in rows
        if row[0].startswith("`")
    }


def retry_rows() -> dict[tuple[str, str], str]:
    """(failure, column) → what is done."""
    kinds = ("safe", "refresh", "login", "create", "paid")
    rows = next(rows for title, rows in tables() if title == "What is sent again")
    return {(row[0], kind): cell for row in rows for kind, cell in zip(kinds, row[1:], strict=True)}


def gaps() -> list[str]:
    """The numbers of the gaps that have a row."""
    rows = next(rows for title, rows in tables() if title == "Where the reference is silent")
    return [row[0] for row in rows]
