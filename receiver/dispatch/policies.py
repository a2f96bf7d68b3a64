"""Which retry policy a delivery to a handler goes by."""

from collections.abc import Mapping
from dataclasses import dataclass

from receiver.retry import RetryOptions, RetryPolicy

NOTHING_SET = RetryOptions()


@dataclass(frozen=True, kw_only=True)
class HandlerPolicies:
    """The settings' policies of deliveries to handlers.

    >>> policies = HandlerPolicies(
    ...     default=RetryPolicy(attempts=8, jitter=0.2),
    ...     sources={"shop": RetryOptions(attempts=5, max_age_seconds=60)},
    ... )
    >>> found = policies.of("shop", RetryOptions(attempts=3))
    >>> found.attempts, found.max_age_seconds, found.jitter
    (3, 60, 0.2)
    """

    default: RetryPolicy
    """`[dispatch]`."""
    sources: Mapping[str, RetryOptions]
    """`[sources.NAME]`, by name."""

    def of(self, source: str, own: RetryOptions = NOTHING_SET) -> RetryPolicy:
        """The handler's own where it has one, else the source's, else the default: key by key."""
        return own.over(self.sources.get(source, NOTHING_SET).over(self.default))
