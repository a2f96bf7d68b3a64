"""The vendor's reference, read from its text: operations, parameters, examples, errors, events."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[3] / "docs/reference/claribi-api-reference.txt"

_OPERATION = re.compile(r"(GET|POST|PUT|DELETE|PATCH) /api/(\S+)")
_RESPONSE = re.compile(r"Response \((\d{3})\):")
_ERROR = re.compile(r"\| (\d{3}) \| (\w+) \|")
# In the text the events stand in one line with nothing between them: "…finisheddata_source.…".
_EVENT = re.compile(r"((?:data_source|report|goal|billing)\.[a-z_]+)-- ")


@dataclass
class Documented:
    """One operation of the reference."""

    method: str
    path: str
    """What follows `/api/`."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Query parameter → its description."""
    request: Any = None
    response: Any = None
    status: int | None = None


@dataclass
class Reference:
    """What the text says."""

    operations: list[Documented] = field(default_factory=list)
    common_parameters: dict[str, str] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    errors: set[tuple[int, str]] = field(default_factory=set)
    error_example: Any = None
    events: set[str] = field(default_factory=set)
    webhook_example: Any = None

    def get(self, method: str, path: str) -> Documented:
        """One operation."""
        return next(one for one in self.operations if (one.method, one.path) == (method, path))


def read() -> Reference:
    """Read the text; what can't be recognized fails in `test_sandbox_reference`'s counts."""
    lines = FILE.read_text("utf-8").splitlines()
    reference = Reference()
    for number, line in enumerate(lines):
        if match := _OPERATION.fullmatch(line):
            reference.operations.append(Documented(match[1], match[2]))
        elif line == "| Parameter | Type | Description |":
            _read_parameters(reference, lines, number)
        elif line == "Request:":
            reference.operations[-1].request = _json_at(lines, number + 1)
        elif match := _RESPONSE.match(line):
            reference.operations[-1].status = int(match[1])
            if lines[number + 1].startswith("{"):
                reference.operations[-1].response = _json_at(lines, number + 1)
        elif line.startswith("- ") and " -- " in line:
            reference.formats.append(line[2:].partition(" -- ")[0])
        elif match := _ERROR.fullmatch(line):
            reference.errors.add((int(match[1]), match[2]))
        elif _EVENT.match(line):
            reference.events |= set(_EVENT.findall(line))
            assert len(reference.events) == line.count("-- "), "an event of an unknown kind"
        elif line == "All errors follow a consistent format:":
            reference.error_example = _json_at(lines, number + 1)
        elif line == "Webhook Payload Example":
            reference.webhook_example = _json_at(lines, number + 1)
    return reference


def _read_parameters(reference: Reference, lines: list[str], number: int) -> None:
    is_common = lines[number - 2] == "Common Query Parameters"
    target = reference.common_parameters if is_common else reference.operations[-1].parameters
    at = number + 2
    while lines[at].endswith(" |"):
        target[lines[at].removesuffix(" |")] = lines[at + 1].split(" | ")[1].removesuffix(" |")
        at += 2


def _json_at(lines: list[str], number: int) -> Any:
    value, _ = json.JSONDecoder().raw_decode("\n".join(lines[number:]))
    return value
