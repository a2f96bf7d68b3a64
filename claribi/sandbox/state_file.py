"""The state as a JSON file: read at start, replaced whole after changes."""

import os
from pathlib import Path

from pydantic import ValidationError

from claribi.sandbox.records import State
from claribi.sandbox.seed import seed_state


class StateFileError(Exception):
    """The file holds no state of a sandbox; the text says what to do."""


def load(path: Path | None) -> State:
    """The state in the file, or a fresh one if there is no file yet.

    Raises StateFileError if the file holds something else, or can't be written.
    """
    try:
        if path is None:
            return seed_state()
        state = State.model_validate_json(path.read_bytes()) if path.exists() else seed_state()
        save(path, state.model_dump_json())
    except OSError as error:
        msg = f"{path}: {error.strerror}; name a file that can be read and written"
        raise StateFileError(msg) from error
    except ValidationError as error:
        msg = f"{path} is not a sandbox's state; delete it to start afresh, or name another file"
        raise StateFileError(msg) from error
    return state


def save(path: Path, text: str) -> None:
    """Replace the file in one step, so that a reader never sees half of it. Owner only: 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
