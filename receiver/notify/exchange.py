"""What was seen of one send: its requests and their answers. No I/O, no slow imports."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its answer, or the failure that it met instead."""

    protocol: str
    """`HTTP` or `SMTP`."""
    status: int | None = None
    retry_after: str | None = None
    """The header as it came."""
    body: bytes = b""
    """The start of the answer, at most 64 KiB."""
    error_class: str | None = None
    error: str | None = None
    """The innermost cause, in the words of the system (`Connection refused`)."""
    may_have_arrived: bool = False
    """It failed after the message was, or may have been, handed over."""
    is_hopeless: bool = False
    """The request itself can't be made, now or later (a bad host name, a bad header)."""


class Recording:
    """The exchanges of one send, in order."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._abandoned = threading.Event()
        self._seen: BaseException | None = None

    def abandon(self) -> None:
        """The sender gave up: start nothing new. (What is under way can't be called back.)"""
        self._abandoned.set()

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned.is_set()

    def add(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def add_failure(self, error: BaseException, exchange: Exchange) -> None:
        """Note a failure once, however many wrapped methods it passes on its way up."""
        if self._seen is not error:
            self._seen = error
            self.exchanges.append(exchange)
