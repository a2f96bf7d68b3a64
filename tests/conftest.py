"""For every test: what one has set for the whole process, the next one does not find."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

# Hundreds of tests start our commands. Where it is set, each would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that configures logging sets a level, below which others would see no line."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
