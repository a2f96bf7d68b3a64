"""Reads the vendor's reference (docs/reference/claribi-api-reference.txt) into its elements."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

REFERENCE = Path(__file__).parents[2] / "docs/reference/claribi-api-reference.txt"

_OPERATION = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) /api/(\S+)$")
_RESPONSE = re.compile(r"^Response \((\d+)\):")
# The text's tables are broken: a row's cells are spread over lines.
_PARAMETER = re.compile(r"^\|? ?(\w+) \|\n(\w+) \| (.*) \|$", re.MULTILINE)
_ERROR = re.compile(r"^\| (\d{3}) \| (\w+) \|\n(.*) \|$", re.MULTILINE)
_EVENT = re.compile(r"((?:data_source|report|goal|billing)\.[a-z_]+)-- ")
# What is said in prose only.
_FLAG = re.compile(r"includes an (\w+) flag")
_UPDATED = re.compile(r"^Update a \w+'s (.*)\.$", re.MULTILINE)
_FORMAT = re.compile(r"^- (\w+) -- ", re.MULTILINE)


@dataclass
class Operation:
    """One endpoint with everything that the reference says of it."""

    method: str
    path: str
    """Relative to the base URL: `data-sources/{id}/`."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Name → description."""
    request: Any = None
    status: int | None = None
    response: Any = None
    prose_request: list[str] = field(default_factory=list)
    prose_response: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Element(NamedTuple):
    """One thing that client and sandbox must cover: a row of the table in docs/claribi-api.md."""

    where: str
    """The operation's name, or `lists`, `errors`, `webhooks`."""
    kind: str
    """call, parameter, request, response, value, error or event."""
    name: str
    """A parameter, a path such as `results[].id`, `status=active`, or a code."""


class Reference:
    """The parsed text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.operations = list(_operations(text))
        self.list_parameters = _parameters(_between(text, "Common Query Parameters", "Error Resp"))
        self.errors = {code: int(status) for status, code, _ in _ERROR.findall(text)}
        self.events = _EVENT.findall(text)
        self.webhook = _first_json(_between(text, "Webhook Payload Example", "SDKs"))
        self.formats = _FORMAT.findall(text)

    def elements(self) -> list[Element]:
        """Everything, in the order of the text."""
        return [
            *(element for one in self.operations for element in _elements(one)),
            *(Element("lists", "parameter", name) for name in self.list_parameters),
            *(Element("POST analytics/query/", "value", f"format={one}") for one in self.formats),
            *(Element("errors", "error", code) for code in self.errors),
            *(Element("webhooks", "event", name) for name in self.events),
            *(Element("webhooks", "response", path) for path in flatten(self.webhook)),
        ]


def load() -> Reference:
    return Reference(REFERENCE.read_text())


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Paths of all fields with an example: `{"a": [{"b": 1}]}` → `{"a": …, "a[].b": 1}`."""
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            path = f"{prefix}.{name}" if prefix else name
            found[path] = item
            found |= {k: v for k, v in flatten(item, path).items() if k not in found}
    if isinstance(value, list):
        for item in value:
            found |= {k: v for k, v in flatten(item, f"{prefix}[]").items() if k not in found}
    return found


def filter_values(description: str) -> list[str]:
    """The values that a filter's description lists: `Filter by status: active, paused, error`."""
    head, colon, tail = description.partition(": ")
    return tail.split(", ") if colon and head.startswith("Filter") else []


def _elements(one: Operation) -> Iterator[Element]:
    yield Element(one.name, "call", one.name)
    for name, description in one.parameters.items():
        yield Element(one.name, "parameter", name)
        for value in filter_values(description):
            yield Element(one.name, "value", f"{name}={value}")
    for path in [*flatten(one.request), *one.prose_request]:
        yield Element(one.name, "request", path)
    for path in [*flatten(one.response), *one.prose_response]:
        yield Element(one.name, "response", path)


def _operations(text: str) -> Iterator[Operation]:
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if _OPERATION.match(line)]
    end = lines.index("Common Query Parameters")
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        match = _OPERATION.match(lines[start])
        assert match is not None
        yield _operation(Operation(*match.groups()), lines[start + 1 : stop])


def _operation(one: Operation, lines: list[str]) -> Operation:
    section = "\n".join(lines)
    one.parameters = _parameters(section)
    one.prose_response = _FLAG.findall(section)
    one.prose_request = [
        name for match in _UPDATED.findall(section) for name in re.split(r",? or |, ", match)
    ]
    request, _, response = section.partition("\nResponse (")
    if "Request:" in request:
        one.request = _first_json(request)
    if response:
        match = _RESPONSE.match(f"Response ({response}")
        assert match is not None
        one.status = int(match[1])
        if "\n{" in response:
            one.response = _first_json(response)
    return one


def _parameters(section: str) -> dict[str, str]:
    return {name: description for name, _, description in _PARAMETER.findall(section)}


def _first_json(section: str) -> Any:
    return json.JSONDecoder().raw_decode(section[section.index("\n{") + 1 :])[0]


def _between(text: str, start: str, end: str) -> str:
    return text[text.index(start) : text.index(end, text.index(start))]
