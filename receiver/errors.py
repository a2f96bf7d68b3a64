"""Every error that clarihook raises.

ClarihookError
├── ConfigError            a setting is wrong; says which file, key and line, and the remedy
├── UsageError             a command was given something that does not exist or does not fit
├── SignatureError         a request does not prove its sender (401)
├── PayloadError           a proven request whose body is not an event (400)
├── StoreError             the store can't do it
│   ├── StoreUnavailable   not now: full, locked, backlog reached (503)
│   ├── StoreLocked        another process owns this database
│   ├── SchemaTooNew       written by a newer clarihook
│   └── LeaseLost          the delivery is no longer this worker's to finish
├── HandlerLoadError       a handler file can't be loaded
└── HandlerSignal          what a handler raises to steer its own delivery
    ├── Skip               success, with a reason
    ├── Retry              run me again, after that long
    └── Reject             dead at once, with a reason
"""

from datetime import timedelta

from receiver.durations import parse_duration


class ClarihookError(Exception):
    """Base of all errors that clarihook raises; its text is fit to show to a user."""


class ConfigError(ClarihookError):
    """The settings can't be used. `problems` holds one line per fault, all of them at once."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(ClarihookError):
    """A command names something that does not exist, or asks for what can't be done."""


class SignatureError(ClarihookError):
    """A request does not prove its sender.

    `reason` is one of a small closed set of words (`receiver.signatures.REASONS`) for logs,
    metrics and `signature check`. A client is never told it: the reason would help a forger.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class PayloadError(ClarihookError):
    """A correctly signed body is not an event: not JSON, not an object, no type, too deep."""


class StoreError(ClarihookError):
    """The store can't do what was asked."""


class StoreUnavailable(StoreError):
    """Not now: disk full, database locked out, backlog reached. Try again after the wait."""

    def __init__(self, message: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StoreLocked(StoreError):
    """Another process owns this database and this SQLite does not allow a second writer."""


class SchemaTooNew(StoreError):
    """The database was written by a newer clarihook than this one."""


class LeaseLost(StoreError):
    """A delivery was taken from this worker before it finished; its result is void."""


class HandlerLoadError(ClarihookError):
    """A handler file can't be loaded; the text has its path, the line and the cause."""


class HandlerSignal(ClarihookError):
    """What a handler raises to steer its own delivery."""


class Skip(HandlerSignal):
    """Done, there was nothing to do: the delivery succeeds and keeps `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Retry(HandlerSignal):
    """Run this delivery again, `after` that long: seconds, `"5m"` or a `timedelta`.

    It counts as an attempt; past the last one the delivery is dead. Without `after` the
    handler's own schedule decides.
    """

    def __init__(self, reason: str = "", *, after: float | str | timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if isinstance(after, str):
            after = parse_duration(after)
        self.after_seconds = after.total_seconds() if isinstance(after, timedelta) else after


class Reject(HandlerSignal):
    """This delivery can never succeed: dead at once, with `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
