"""What the contexts of all handlers share: the API client, the HTTP client, their values."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from receiver.errors import ConfigError
from receiver.store.base import Store
from receiver.templates.library import Templates

if TYPE_CHECKING:  # slow to import, and many deployments use neither
    import httpx2

    from claribi import AsyncClariBI


def no_claribi() -> ConfigError:
    """What a handler hears that asks for an API client without credentials."""
    return ConfigError(
        "the clariBI API is not configured: set api_key (or email and password) in "
        "[claribi] of config/clarihook.toml"
    )


class Clients:
    """The API client and the HTTP client, made at first use."""

    def __init__(self, make_claribi: "Callable[[], AsyncClariBI] | None") -> None:
        self._make_claribi = make_claribi
        self._claribi: AsyncClariBI | None = None
        self._http: httpx2.AsyncClient | None = None

    def claribi(self) -> "AsyncClariBI":
        """The API client; raises ConfigError if the settings have no credentials for it."""
        if self._make_claribi is None:
            raise no_claribi()
        if self._claribi is None:
            self._claribi = self._make_claribi()
        return self._claribi

    def http(self) -> "httpx2.AsyncClient":
        """A pooled HTTP client."""
        if self._http is None:
            import httpx2  # noqa: PLC0415 - slow, and many handlers never use it

            # trust_env: a proxy variable of the machine must not see what handlers send.
            self._http = httpx2.AsyncClient(timeout=30.0, trust_env=False)
        return self._http

    async def close(self) -> None:
        """Close the clients that were made. What still asks for one gets a new one."""
        claribi, self._claribi = self._claribi, None
        if claribi is not None:
            await claribi.aclose()
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()


class SharedResources:
    """The `Resources` of all handlers."""

    def __init__(
        self, store: Store, channels: Collection[str], clients: Clients, templates: Templates
    ) -> None:
        self.channels = channels
        self.templates = templates
        self.clients = clients
        self.claribi, self.http = clients.claribi, clients.http
        self._store = store

    async def kv_get(self, handler_name: str, key: str) -> str | None:
        """What a handler keeps under a key."""
        return await self._store.value(handler_name, key)
