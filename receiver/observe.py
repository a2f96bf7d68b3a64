"""Logging: one line per thing that happened, the event's name first, secrets masked.

    structlog.get_logger().info("delivery.dead", delivery_id=42, attempts=8)

What libraries log through `logging` (uvicorn, apprise) comes out in the same form. Bind what
holds for a whole task once: `structlog.contextvars.bind_contextvars(event_id=…)`.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from receiver.printable import printable

LogFormat = Literal["auto", "json", "console"]
Redact = Callable[[str], str]

IN_A_RESULT = "is_in_a_result"
"""The attribute of a library's log record whose text is told by a line of ours: not said twice."""

MAX_TEXT_CHARS = 16_384
"""A longer text in a log line is cut."""

# These write request URLs, tokens and all, at INFO and below; uvicorn brings its own handlers.
_QUIET_LOGGERS = ("apprise", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3")
_OWN_HANDLER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access")

_NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


def configure_logging(
    level: str = "info",
    log_format: LogFormat = "auto",
    *,
    redact: Redact = lambda text: text,
    stream: TextIO | None = None,
) -> None:
    """Send every log line of the process to `stream` (standard error), in one form.

    `level` is "debug", "info", "warning" or "error". "auto" is "console" on a terminal and
    "json" elsewhere. `redact` sees every text of a line, nested ones and tracebacks too, after
    all else was added to it. Calling again replaces what was configured before.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = log_format == "console" or (log_format == "auto" and stream.isatty())
    prepare: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    )
    structlog.configure(
        processors=[*prepare, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Not cached: a logger made before a reload would keep the old level for ever.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *prepare],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _event_first,
                _redactor(redact),
                _render_console if on_terminal else _render_json,
            ],
        )
    )
    handler.addFilter(lambda record: not hasattr(record, IN_A_RESULT))
    _take_over_logging(handler, _number(level))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _take_over_logging(handler: logging.Handler, level: int) -> None:
    """Make `handler` the only one, for loggers that libraries have set up themselves too."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _OWN_HANDLER_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)  # a uvicorn.Config before this one may have set it
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _event_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event's name, its level and time, then the fields in the order they were given."""
    first = {key: event.pop(key) for key in ("event", "level", "timestamp") if key in event}
    return {**first, **event}


def _redactor(redact: Redact) -> Processor:
    """The last step before the line is made: nothing can add a secret after it."""

    def clean(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {clean(str(key)): clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(inner) for inner in value]
        text = redact(value if isinstance(value, str) else str(value))
        return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"

    def process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {str(key): clean(value) for key, value in event.items()}

    return process


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    # ASCII only: no control, line separator or direction mark can leave the line.
    return json.dumps(event)


def _render_console(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`14:03:07 warning  delivery.dead attempts=8`, then a traceback's lines, each marked."""
    time = str(event.pop("timestamp", ""))[11:19]
    level = str(event.pop("level", ""))
    traceback = str(event.pop("exception", ""))
    name = printable(event.pop("event", ""))
    fields = "".join(f" {printable(key)}={_field(value)}" for key, value in event.items())
    lines = "".join(f"\n    | {printable(line)}" for line in traceback.split("\n") if line)
    return f"{time} {level:8} {name}{fields}{lines}"


def _field(value: Any) -> str:
    if not isinstance(value, str):
        return printable(json.dumps(value, ensure_ascii=False))
    text = printable(value)
    return f'"{text}"' if _NEEDS_QUOTES.search(text) else text
