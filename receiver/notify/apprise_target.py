"""A target that is an Apprise URL. Apprise makes one attempt; all the rest is ours."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from receiver.errors import ConfigError
from receiver.model import Message, Outcome
from receiver.notify import content, pieces
from receiver.notify.classify import Report, classify
from receiver.notify.exchange import Recording
from receiver.notify.lane import Lane
from receiver.notify.log_guard import captured, keep_apprise_logger
from receiver.notify.redact import Redactor
from receiver.notify.target import MAX_ERROR_BYTES, SendResult
from receiver.rate import Rate
from receiver.traces import error_text, error_trace

log = structlog.get_logger("receiver.notify")

_OF_ANY_SERVICE = frozenset({"http", "https"})
"""Schemes of addresses that services show to their users; Apprise knows whose each one is."""


class AppriseTarget:
    """One Apprise URL, i.e. one recipient. How a send runs, and what if it hangs: see `Lane`."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        where: str,
        timeout_seconds: float,
        rate: Rate | None,
        redactor: Redactor,
        concurrency: int = 1,
    ) -> None:
        """`where` names the URL's place in the config, for error messages."""
        self.name = name
        self._url = url
        self._where = where
        self._schema = url.partition("://")[0].lower()
        self._asked_for = content.format_of_url(url)
        self._timeout_seconds = timeout_seconds
        self._redactor = redactor
        self._lane = Lane(name, timeout_seconds=timeout_seconds, rate=rate, concurrency=concurrency)
        self.pace = self._lane.pace
        # One for each slot: an Apprise service keeps notes of the send that it is at.
        self._services: list[Any] = [None] * concurrency

    async def send(self, message: Message) -> SendResult:
        record = Recording()
        return await self._lane.run(
            lambda slot: self._deliver(message, record, slot), abandon=record.abandon
        )

    async def close(self) -> None:
        self._lane.stop()

    def open(self, slot: int = 0) -> Any:
        """The Apprise service of the URL. Blocking, so not for the event loop's thread.

        Raises ConfigError: the URL is wrong, or has several recipients.
        """
        if self._services[slot] is None:
            from receiver.notify.apprise_service import open_service  # noqa: PLC0415 - slow

            self._services[slot] = open_service(
                self._url, where=self._where, timeout_seconds=self._timeout_seconds
            )
        return self._services[slot]

    def prepare(self, message: Message) -> content.Content:
        """See `Target.prepare`."""
        schema = self._schema
        if schema in _OF_ANY_SERVICE:
            schema = _schema_of(self.open(), schema)
        return self._prepare(message, schema)

    def _prepare(self, message: Message, schema: str) -> content.Content:
        return content.prepare(message, schema, self._asked_for)

    # --- in the worker thread -------------------------------------------------------------------

    def _deliver(self, message: Message, record: Recording, slot: int) -> SendResult:
        try:
            result = classify(self._call_apprise(message, record, slot), datetime.now(UTC))
        except ConfigError as error:
            # Its text names the place in the config and has no part of the URL.
            return SendResult(
                outcome=Outcome.PERMANENT, error_class="ConfigError", error=str(error)
            )
        except Exception as error:  # Whatever a plugin does, its send has a result.
            result = SendResult(
                outcome=Outcome.TRANSIENT,
                error_class=type(error).__name__,
                error=error_text(error),
                traceback=error_trace(error, self._redactor, own_file=__file__),
            )
        if result.error is None:
            return result
        # Only what others wrote is masked: the name would lose a word that a URL has too.
        prefix = f"{self.name}: "
        room = MAX_ERROR_BYTES - len(prefix.encode())
        return replace(result, error=prefix + self._redactor.line(result.error, room))

    def _call_apprise(self, message: Message, record: Recording, slot: int) -> Report:
        from apprise import Apprise  # noqa: PLC0415 - slow

        from receiver.notify import wire  # noqa: PLC0415 - imports requests
        from receiver.notify.attached import attached  # noqa: PLC0415 - imports apprise

        service = self.open(slot)
        wire.install()
        keep_apprise_logger()
        apprise = Apprise(asset=service.asset)
        apprise.add(service)
        schema = _schema_of(service, self._schema)
        ready = self._prepare(message, schema)
        if self._asked_for is None and schema in content.TOLD_MARKDOWN_SCHEMAS:
            service.notify_format = "markdown" if ready.format == "markdown" else "text"
        ready = pieces.fit(service, schema, ready)
        with attached(message, service) as attachments, wire.recording(record), captured():
            result = apprise.notify(
                body=ready.body,
                title=ready.title,
                body_format=ready.format,
                notify_type=content.NOTIFY_TYPES[message.severity],
                attach=attachments or None,
            )
        # By the attempts and not by the status: `optional` turns a failure into a success there.
        attempts = [attempt for service in result for attempt in service.attempts]
        report = Report(
            is_sent=bool(result) and any(attempts),
            was_tried=bool(attempts),
            exchanges=tuple(record.exchanges),
            logs=tuple(entry.message for entry in result.logs()),
        )
        if report.is_sent and report.logs:  # those of a failure are in its error
            said = self._redactor.line(" / ".join(report.logs), MAX_ERROR_BYTES)
            log.warning("target.sent_with_warning", name=self.name, said=said)
        return report


def _schema_of(service: Any, schema: str) -> str:
    """The scheme of the service's own URLs, also for an `https://` that the service shows."""
    if schema not in _OF_ANY_SERVICE:
        return schema
    own = service.secure_protocol or service.protocol
    return own if isinstance(own, str) else str(own[0])
