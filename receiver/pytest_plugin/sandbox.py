"""clariBI's stand-in for tests, over real HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from claribi import AsyncClariBI
from claribi.sandbox import Sandbox, create_app
from receiver.pytest_plugin.serving import serving


@dataclass(frozen=True, kw_only=True)
class ServedSandbox:
    """What the fixture `claribi_sandbox` gives."""

    sandbox: Sandbox
    base_url: str
    """Of its API, as `[claribi] base_url` and `AsyncClariBI` take it."""

    def client(self, api_key: str = Sandbox.api_key, **options: Any) -> AsyncClariBI:
        """A client for it, an administrator's unless told otherwise. Close it: `async with`."""
        return AsyncClariBI(base_url=self.base_url, api_key=api_key, **options)

    def reset(self) -> None:
        """As at its start: seeded data, real time, no faults, no webhooks."""
        for webhook_id in list(self.sandbox.state.webhooks):
            self.sandbox.remove_webhook(webhook_id)
        self.sandbox.reset()


@contextmanager
def serve_sandbox() -> Iterator[ServedSandbox]:
    """Serve one, 600 times as fast as clariBI: a sync of "2 minutes" takes 200 ms."""
    app = create_app(speed=600)
    with serving(app, "claribi sandbox") as served:
        yield ServedSandbox(sandbox=app.state.sandbox, base_url=f"{served.origin}/api/")
