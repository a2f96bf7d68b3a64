"""JSON that options take: objects, and the API's answers for handlers that are tried out."""

import json
from collections.abc import Mapping
from typing import Any

from receiver.errors import UsageError


def api_answers(text: bytes) -> Mapping[str, Any]:
    """Answers as JSON has them: `[status, body]` stands for a status with a body."""
    table = json_object("--answers", text)
    return {
        request: tuple(answer) if _is_status_and_body(answer) else answer
        for request, answer in table.items()
    }


def _is_status_and_body(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], int)


def json_object(option: str, text: str | bytes) -> dict[str, Any]:
    """The object; raises UsageError for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{option} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{option} is no JSON object: it begins with {str(value)[:40]!r}")
    return value
