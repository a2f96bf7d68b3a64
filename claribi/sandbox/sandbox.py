"""The sandbox as tests hold it: what can be read of it, and what can be done to it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from claribi.sandbox import balance, events, people
from claribi.sandbox.records import ApiKey, Delivery, Fault, JobKind, State, User, Webhook
from claribi.sandbox.seed import seed_state
from claribi.sandbox.signing import Signer
from claribi.sandbox.worker import Worker
from claribi.sandbox.world import Call, RateLimit, World

FIRST_ATTEMPT_SECONDS = 60

T = TypeVar("T")


class Sandbox:
    """Methods may be called from any thread, the async ones from any event loop."""

    api_key: str = people.API_KEYS[0].key
    """An administrator's."""
    analyst_key: str = people.API_KEYS[1].key
    viewer_key: str = people.API_KEYS[2].key
    read_only_key: str = people.API_KEYS[3].key
    api_keys: Sequence[ApiKey] = people.API_KEYS
    users: Sequence[User] = people.USERS
    totp_secret: str = people.TOTP_SECRET
    """Of mfa@example.com."""
    webhook_secret: str = people.WEBHOOK_SECRET
    """Signs the webhooks that were registered without a secret."""

    def __init__(self, world: World, *, state_path: Path | None = None) -> None:
        self.world = world
        self._worker = Worker(world, state_path)

    @property
    def state(self) -> State:
        """Everything that is stored."""
        return self.world.state

    @property
    def administrator(self) -> User:
        """user@example.com."""
        return self.users[0]

    @property
    def calls(self) -> list[Call]:
        """What reached `/api/`, oldest first; the latest 10,000."""
        return list(self.world.calls)

    @property
    def deliveries(self) -> list[Delivery]:
        """Webhooks sent or being sent, oldest first."""
        return list(self.state.deliveries.values())

    def count_calls(self, method: str = "*", path: str = "*") -> int:
        """How many calls there were; `path` is a pattern over what follows `/api/`."""
        return sum(
            fnmatchcase(call.method, method) and fnmatchcase(call.path, path) for call in self.calls
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Let jobs end and webhooks go out; the app's lifespan is inside this."""
        return self._worker.running()

    # What goes wrong

    def fail_next(self, n: int = 1, status: int = 503, **fault: object) -> None:
        """Let the next `n` calls fail. Further keywords: the fields of `Fault`."""
        planned = Fault.model_validate({"count": n, "status": status, **fault})
        self._change(lambda: self.world.faults.append(planned))

    def clear_faults(self) -> None:
        """Let nothing fail that was planned to, and was not yet."""
        self._change(self.world.faults.clear)

    def fail_next_job(self, kind: JobKind, error: str = "The connection was lost") -> None:
        """Let the next sync or report that is started end in failure."""
        self._change(lambda: self.state.failing_jobs.setdefault(kind, []).append(error))

    def set_rate_limit(self, requests: int | None, window_seconds: int = 60) -> None:
        """Allow so many calls per window and credential; None takes the limit away."""
        limit = RateLimit(requests=requests or 0, window_seconds=window_seconds)

        def change() -> None:
            self.world.rate_limit = None if requests is None else limit
            self.world.rate_windows.clear()

        self._change(change)

    def expire_tokens(self, *, refresh: bool = False) -> None:
        """Let every access token issued so far be expired; with `refresh`, those tokens too."""

        def expire() -> None:
            self.state.access_generation += 1
            self.state.refresh_generation += refresh

        self._change(expire)

    # Time, credits, events

    def advance(self, span: timedelta) -> None:
        """Move the sandbox's time forward: tokens expire, jobs end, retries fall due."""
        self._change(lambda: self.world.clock.advance(span))

    def set_credits(self, remaining: int) -> None:
        """Set the balance; falling below 10 % sends `billing.credits_low`."""
        self._change(lambda: balance.set_remaining(self.world, remaining))

    async def fire(self, event_type: str, /, **data: JsonValue) -> list[Delivery]:
        """Send an event to every webhook, and wait until each was tried once.

        `data` goes over the believable data of a known event type; any type may be sent.
        """

        def emit() -> list[Delivery]:
            filled = events.example_data(self.world, event_type) | data
            return events.emit(self.world, event_type, filled)

        made = self._change(emit)
        await self._until(
            lambda: all(one.attempts or one.status != "pending" for one in made),
            FIRST_ATTEMPT_SECONDS,
        )
        return made

    async def drain(self, timeout_seconds: float = 30) -> bool:
        """Wait until no job runs and no webhook waits; False if that took too long."""
        return await self._until(lambda: not self._is_busy(), timeout_seconds)

    # Webhooks

    def add_webhook(
        self,
        url: str,
        *,
        secret: str | None = None,
        events: Sequence[str] = ("*",),
        signer: Signer | None = None,
    ) -> Webhook:
        """Send matching events to `url`, signed by `signer`, or else with `secret`.

        A signer of its own isn't kept in the state file; after a restart the secret signs.
        """

        def add() -> Webhook:
            webhook = Webhook(
                id=self.state.next_id("webhook"),
                url=url,
                secret=secret or self.webhook_secret,
                events=list(events),
            )
            self.state.webhooks[webhook.id] = webhook
            if signer is not None:
                self.world.signers[webhook.id] = signer
            return webhook

        return self._change(add)

    def remove_webhook(self, webhook_id: int) -> bool:
        """Send nothing more there; whether it was registered."""

        def remove() -> bool:
            self.world.signers.pop(webhook_id, None)
            return self.state.webhooks.pop(webhook_id, None) is not None

        return self._change(remove)

    def reset(self) -> None:
        """Back to the seeded state, real time and no faults; only the webhooks stay."""
        self._change(self._reset)

    def _reset(self) -> None:
        world, old, fresh = self.world, self.world.state, seed_state()
        # These numbers go on, so that nothing late from before is taken for something new.
        fresh.sequences |= {name: old.sequences.get(name, 0) for name in ("webhook", "delivery")}
        fresh.webhooks, fresh.last_event_ms = old.webhooks, old.last_event_ms
        world.state = fresh
        world.clock.offset_seconds = 0
        world.faults.clear()
        world.calls.clear()
        world.rate_limit = None
        world.rate_windows.clear()

    def _change(self, action: Callable[[], T]) -> T:
        """Do it in the worker's thread, then let everybody look."""
        result = self._worker.do(action)
        self.world.bell.ring()
        return result

    def _is_busy(self) -> bool:
        return bool(self.state.jobs) or any(one.status == "pending" for one in self.deliveries)

    async def _until(self, is_done: Callable[[], bool], timeout_seconds: float) -> bool:
        if not self._worker.is_running:
            msg = "the sandbox isn't running: serve its app, or enter `sandbox.running()`"
            raise RuntimeError(msg)
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    ticket = self.world.bell.ticket
                    # In the worker's thread: from another one, a job that has ended and whose
                    # webhook isn't made yet would look like nothing under way.
                    if self._worker.do(is_done):
                        return True
                    await self.world.bell.wait(ticket)
        except TimeoutError:
            return False
