"""What can be set for a client or, by `with_options`, for a few calls."""

from dataclasses import dataclass, replace

from claribi.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Limits of one call, in seconds. Each wait for the network has one."""

    connect_seconds: float = 5.0
    """To connect, with TLS."""
    read_seconds: float = 30.0
    """Between two pieces of an answer, and for sending one."""
    query_seconds: float = 120.0
    """The read limit of `analytics.query`, whose answer an AI has to think up."""
    total_seconds: float = 120.0
    """For the whole call with its retries and waits; a query gets `query_seconds` more."""

    def __post_init__(self) -> None:
        for name in ("connect_seconds", "read_seconds", "query_seconds", "total_seconds"):
            if not 0 < getattr(self, name) < 86_400:
                raise ConfigurationError(f"timeout: {name} must be over 0 and under a day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Timeouts and retries of a client."""

    timeout: Timeout = Timeout()
    retries: int = 2
    """How often a failed call is sent again, at most."""
    max_body_bytes: int = 10 * 1024 * 1024
    """The largest answer that is read, counted after decompression."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ConfigurationError("retries must be 0 or more")
        if self.max_body_bytes < 1:
            raise ConfigurationError("max_body_bytes must be 1 or more")


def with_changes(
    options: Options, *, timeout: float | Timeout | None, retries: int | None
) -> Options:
    """Options with what is not None changed. A number is `read_seconds`; queries get no less."""
    if isinstance(timeout, int | float):
        timeout = replace(
            options.timeout,
            connect_seconds=min(options.timeout.connect_seconds, timeout),
            read_seconds=timeout,
            query_seconds=max(options.timeout.query_seconds, timeout),
        )
    if timeout is not None:
        options = replace(options, timeout=timeout)
    return options if retries is None else replace(options, retries=retries)
