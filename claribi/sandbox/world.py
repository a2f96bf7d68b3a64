"""What every part of the sandbox shares: its state, its time, and what tests set on it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from claribi.sandbox.clock import Bell, SandboxClock
from claribi.sandbox.people import find_user
from claribi.sandbox.records import Fault, State
from claribi.sandbox.shapes import UserRef
from claribi.sandbox.signing import Signer

KEPT_CALLS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call that reached `/api/`, for tests that count."""

    method: str
    path: str
    """What follows `/api/`: `reports/15/`."""
    status: int
    """0: the connection was dropped."""
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimit:
    """At most `requests` per `window_seconds` of the sandbox's time, for each credential."""

    requests: int
    window_seconds: int = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What stays as it is for the life of a sandbox."""

    access_token_seconds: int = 3600
    refresh_token_seconds: int = 7 * 86_400
    webhook_timeout_seconds: float = 10.0
    """Real seconds for one attempt at a webhook."""
    webhook_backoff_seconds: Sequence[float] = (5, 30, 120, 600, 3600)
    """Waits before the second, third, … attempt, at speed 1; after the last it gives up."""


@dataclass(kw_only=True)
class World:
    """The state and everything around it that isn't stored."""

    state: State
    clock: SandboxClock
    settings: Settings = field(default_factory=Settings)
    bell: Bell = field(default_factory=Bell)
    """Rings whenever the state changed or time moved."""
    faults: list[Fault] = field(default_factory=list)
    rate_limit: RateLimit | None = None
    rate_windows: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Credential → when its window began (Unix seconds), and the calls in it."""
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=KEPT_CALLS))
    signer: Signer | None = None
    """Signs every webhook that has no signer of its own; None: the `claribi` preset."""
    signers: dict[int, Signer] = field(default_factory=dict)
    """By webhook id."""

    def author(self, user_id: int) -> UserRef | None:
        """A user as `created_by` shows it."""
        user = find_user(user_id)
        return UserRef(id=user.id, name=user.name) if user else None
