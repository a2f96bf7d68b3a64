"""What the client tells its observer: enough for logs and metrics, never a header or a body."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from claribi.errors import RequestInfo

logger = logging.getLogger("claribi")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent:
    """A request is about to be sent. `attempt` is 1 for the first."""

    request: RequestInfo
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """A complete answer came."""

    request: RequestInfo
    attempt: int
    status: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """An attempt failed and the request will be sent again after `seconds`."""

    request: RequestInfo
    attempt: int
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRenewed:
    """A 401 made the client get new tokens; the request is sent once more."""

    request: RequestInfo
    attempt: int


Happening = RequestSent | ResponseReceived | RetryScheduled | SessionRenewed
Hook = Callable[[Happening], None]


class Hooks:
    """Calls each hook in order. A hook that fails is logged: it can't fail the call."""

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        self._hooks = tuple(hooks)

    def tell(self, happening: Happening) -> None:
        """Tell all hooks, and the logger `claribi` at level debug."""
        logger.debug("%s", happening)
        for hook in self._hooks:
            try:
                hook(happening)
            except Exception:
                logger.exception("a hook of the clariBI client failed")
