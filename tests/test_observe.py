"""Log lines: one per event, in one form, with nothing secret and nothing that steers a terminal."""

import io
import json
import logging
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from receiver.observe import MAX_TEXT_CHARS, configure_logging
from receiver.printable import printable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_the_event_first_and_a_utc_time() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger().warning("delivery.dead", delivery_id=42, attempts=8)
    (line,) = lines(stream)
    assert list(line) == ["event", "level", "timestamp", "delivery_id", "attempts"]
    assert (line["event"], line["level"], line["attempts"]) == ("delivery.dead", "warning", 8)
    assert line["timestamp"].endswith("Z")


def test_what_is_bound_to_the_task_is_in_every_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    with structlog.contextvars.bound_contextvars(event_id="evt_1"):
        structlog.get_logger().info("a")
        logging.getLogger("uvicorn.error").warning("b")
    structlog.get_logger().info("c")
    assert [line.get("event_id") for line in lines(stream)] == ["evt_1", "evt_1", None]


@pytest.mark.parametrize(
    ("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_less_severe_lines_are_not_written(level: str, expected: int) -> None:
    stream = io.StringIO()
    configure_logging(level, stream=stream)
    log = structlog.get_logger()
    for write in (log.debug, log.info, log.warning, log.error):
        write("x")
    assert len(lines(stream)) == expected


def test_a_logger_made_before_follows_a_change_of_level() -> None:
    stream = io.StringIO()
    configure_logging("error", stream=stream)
    log = structlog.get_logger()
    log.info("unheard")
    configure_logging("info", stream=stream)
    log.info("heard")
    assert [line["event"] for line in lines(stream)] == ["heard"]


def test_lines_of_libraries_come_out_in_the_same_form_and_once() -> None:
    uvicorn = logging.getLogger("uvicorn.error")
    stream, elsewhere = io.StringIO(), io.StringIO()
    uvicorn.addHandler(logging.StreamHandler(elsewhere))
    configure_logging(stream=stream)
    uvicorn.info("Started on port %d", 8000)
    (started,) = lines(stream)
    assert started["event"] == "Started on port 8000"
    assert started["logger"] == "uvicorn.error"
    assert elsewhere.getvalue() == ""


@pytest.mark.parametrize("name", ["apprise", "httpx2", "httpx", "urllib3"])
def test_libraries_that_log_urls_are_kept_quiet(name: str) -> None:
    stream = io.StringIO()
    configure_logging("debug", stream=stream)
    logging.getLogger(name).info("POST https://hooks.example.com/token")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_redaction_sees_every_text(log_format: Any) -> None:
    stream = io.StringIO()
    configure_logging(
        log_format=log_format, redact=lambda text: text.replace('hunter"2', "***"), stream=stream
    )
    log = structlog.get_logger()
    structlog.contextvars.bind_contextvars(bound='hunter"2')
    log.info(
        'hunter"2',
        text='a hunter"2 b',
        nested={'hunter"2': ['hunter"2', ('hunter"2',)]},
        thing=ValueError('hunter"2'),
    )
    logging.getLogger("apprise").error("%s", 'hunter"2')
    try:
        raise ValueError('hunter"2')
    except ValueError:
        log.exception("failed")
    assert "hunter" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 9


def test_console_is_for_terminals() -> None:
    stream = Terminal()
    configure_logging(stream=stream)
    structlog.get_logger().info("delivery.dead", delivery_id=42, reason="too late", empty="")
    assert stream.getvalue()[8:] == (
        ' info     delivery.dead delivery_id=42 reason="too late" empty=""\n'
    )


def test_console_marks_the_lines_of_a_traceback() -> None:
    stream = io.StringIO()
    configure_logging(log_format="console", stream=stream)
    try:
        raise ValueError("first\n14:00:00 info     forged.line")
    except ValueError:
        structlog.get_logger().exception("failed")
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("error    failed")
    assert all(line.startswith("    | ") for line in others)
    assert others[-1] == "    | 14:00:00 info     forged.line"


@pytest.mark.parametrize("log_format", ["json", "console"])
@given(st.text(), st.text(min_size=1))
def test_whatever_is_logged_stays_one_plain_line(log_format: Any, text: str, key: str) -> None:
    stream = io.StringIO()
    configure_logging(log_format=log_format, stream=stream)
    structlog.get_logger().info(text, **{f"x{key}": text}, nested=[text])
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1] == printable(line[:-1])
    assert len(line[:-1].splitlines()) == 1


def test_a_very_long_text_is_cut() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger().info("x", body="y" * (MAX_TEXT_CHARS * 2))
    assert len(lines(stream)[0]["body"]) == MAX_TEXT_CHARS + 1
