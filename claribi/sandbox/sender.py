"""Hands webhooks over like a real sender: signed, with a time limit, retried with backoff."""

import asyncio
import time

import httpx2

from claribi.sandbox.records import Attempt, Delivery
from claribi.sandbox.signing import Signer, claribi_signer
from claribi.sandbox.world import World

MAX_ANSWER_BYTES = 2_048
AT_ONCE = 32
DELIVERY_HEADER = "X-ClariBI-Delivery"
"""Our addition: the message id, so that attempts can be told apart from new events."""


class Sender:
    """Makes attempts at deliveries. One per sandbox; used inside its event loop only."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def attempt(self, delivery: Delivery) -> None:
        """Try once, and note when to try again or that it has ended."""
        if delivery.webhook_id not in self.world.state.webhooks:
            delivery.status = "failed"  # removed since
            return
        async with self._slots:
            attempt = await self._post(delivery)
        delivery.attempts.append(attempt)
        waits = self.world.settings.webhook_backoff_seconds
        tries = len(delivery.attempts)
        if attempt.status_code is not None and 200 <= attempt.status_code < 300:
            delivery.status = "delivered"
        elif tries > len(waits):
            delivery.status = "failed"
        else:
            delivery.due_at = self.world.clock.after(waits[tries - 1])

    async def _post(self, delivery: Delivery) -> Attempt:
        attempt = Attempt(at=self.world.clock.moment(), duration_ms=0)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.world.settings.webhook_timeout_seconds):
                await self._exchange(delivery, attempt)
        except TimeoutError:
            attempt.error = "no answer in time"
        except Exception as error:  # the border: any URL, a signer that was passed in
            attempt.error = f"{type(error).__name__}: {error}"
        attempt.duration_ms = round((time.perf_counter() - started) * 1000, 2)
        return attempt

    async def _exchange(self, delivery: Delivery, attempt: Attempt) -> None:
        body = delivery.body.encode()
        signed = self._signer(delivery)(body, delivery.message_id, self.world.clock.real())
        headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", "clariBI-Webhooks/1.0 (sandbox)"),
            (DELIVERY_HEADER, delivery.message_id),
            *signed,
        ]
        url = delivery.url
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            attempt.status_code = response.status_code
            answer = b""
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) >= MAX_ANSWER_BYTES:
                    break
        attempt.answer = answer[:MAX_ANSWER_BYTES].decode(errors="replace")

    def _signer(self, delivery: Delivery) -> Signer:
        """The webhook's own signer, else the sandbox's, else the `claribi` preset."""
        world, number = self.world, delivery.webhook_id
        own = world.signers.get(number) or world.signer
        if own is not None:
            return own
        return claribi_signer(world.state.webhooks[number].secret)
