"""The two clients: `AsyncClariBI`, and `ClariBI`, which is the same code with blocking waits."""

import random
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Self, TypedDict, Unpack

import httpx2

from claribi.auth import ApiKey, FixedHeader
from claribi.blocking import run
from claribi.clock import Clock, SystemClock
from claribi.credits import Credits, CreditsLedger
from claribi.engine import Engine, Shared
from claribi.errors import ConfigurationError
from claribi.hooks import Hook, Hooks
from claribi.options import Options, Timeout, with_changes
from claribi.resources.analytics import Analytics, BlockingAnalytics
from claribi.resources.auth import AuthResource, BlockingAuth
from claribi.resources.billing import Billing, BlockingBilling
from claribi.resources.dashboards import BlockingDashboards, Dashboards
from claribi.resources.data_sources import BlockingDataSources, DataSources
from claribi.resources.raw import BlockingRaw, Raw
from claribi.resources.reports import BlockingReports, Reports
from claribi.session import Credentials, JwtSession, Totp
from claribi.transport import DEFAULT_MAX_CONNECTIONS, IO, AsyncIO, BlockingIO
from claribi.urls import normalise_base_url
from claribi.waker import Waker

DEFAULT_BASE_URL = "https://claribi.com/api/"


class Settings(TypedDict, total=False):
    """What both clients take. Give one kind of credentials."""

    base_url: str
    """https, or http to this machine. Default: https://claribi.com/api/."""
    api_key: str | None
    """An API key: the choice for servers."""
    api_key_style: str
    """`x-api-key` (default), `api-key`, `bearer`, or `header:NAME`."""
    email: str | None
    """With `password`: log in, and keep the session alive."""
    password: str | None
    totp: Totp | None
    """A base32 secret, or a callable that returns the code, for accounts with MFA."""
    auth: FixedHeader | Credentials | None
    """Anything else: `jwt_tokens(…)`, `StaticBearer(…)`, `Anonymous()`."""
    timeout: float | Timeout | None
    """A `Timeout`, or the seconds that a read may take (queries have a limit of their own)."""
    retries: int
    """How often a failed call may be sent again (default 2); never what may cost twice."""
    max_body_bytes: int
    """The largest answer that is read (default 10 MiB)."""
    hooks: Sequence[Hook]
    """Told of each request, answer and retry."""
    clock: Clock
    """For tests: another time."""
    jitter: Callable[[], float]
    """For tests: the share of the longest wait, in [0, 1)."""


class _Client:
    """What both clients share: how they are set up, and views with other options."""

    _engine: Engine
    _owns_io: bool = True

    def _set_up(self, io: IO, base_url: str, waker: Waker | None, settings: Settings) -> None:
        clock = settings.get("clock") or SystemClock()
        shared = Shared(
            base_url=base_url,
            user_agent=f"claribi-python/{_version()}",
            io=io,
            clock=clock,
            hooks=Hooks(settings.get("hooks", ())),
            credits=CreditsLedger(clock),
            waker=waker,
            jitter=settings.get("jitter", random.random),
        )
        defaults = Options()
        options = with_changes(
            Options(max_body_bytes=settings.get("max_body_bytes", defaults.max_body_bytes)),
            timeout=settings.get("timeout"),
            retries=settings.get("retries"),
        )
        self._use(Engine(shared, options))
        chosen = _chosen_auth(settings)
        if isinstance(chosen, Credentials):
            api = AuthResource(self._engine)
            shared.auth = JwtSession(chosen, api=api, io=io, clock=clock)
        else:
            shared.auth = chosen

    def _use(self, engine: Engine) -> None:
        raise NotImplementedError

    def with_options(
        self, *, timeout: float | Timeout | None = None, retries: int | None = None
    ) -> Self:
        """A view of this client with other options: same session, connections and credits.

        `timeout` as a number limits each read but those of queries: give a `Timeout` for these.
        Closing a view closes nothing.
        """
        view = object.__new__(type(self))
        view._owns_io = False
        changed = with_changes(self._engine.options, timeout=timeout, retries=retries)
        view._use(Engine(self._engine.shared, changed))
        return view

    @property
    def credits(self) -> Credits:
        """The last known balance of AI credits, and what this client's calls have cost."""
        return self._engine.shared.credits.now

    @property
    def base_url(self) -> str:
        """Where the API is; ends in a slash."""
        return self._engine.shared.base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, auth={self._engine.shared.auth!r})"


class AsyncClariBI(_Client):
    """The clariBI API, for asyncio. Raises ConfigurationError; `Settings` has the parameters.

        async with AsyncClariBI(api_key="claribi_sk_…") as client:
            source = await client.data_sources.get(1)

    `waker` lets webhooks wake `wait`. `transport` and `sleep` are for tests and proxies.
    """

    def __init__(
        self,
        *,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        waker: Waker | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        base_url = _base_url(settings)
        io = AsyncIO(
            max_connections=max_connections,
            uses_tls=base_url.startswith("https:"),
            transport=transport,
            sleep=sleep,
        )
        self._set_up(io, base_url, waker, settings)

    def _use(self, engine: Engine) -> None:
        self._engine = engine
        self.data_sources = DataSources(engine)
        self.dashboards = Dashboards(engine)
        self.reports = Reports(engine)
        self.analytics = Analytics(engine)
        self.billing = Billing(engine)
        self.auth = AuthResource(engine)
        self.raw = Raw(engine)

    async def aclose(self) -> None:
        """Close all connections; a view (`with_options`) closes nothing."""
        if self._owns_io:
            await self._engine.shared.io.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class ClariBI(_Client):
    """The clariBI API, blocking. Raises ConfigurationError; `Settings` has the parameters.

        with ClariBI(email="a@b.c", password="…", totp="BASE32SECRET") as client:
            client.dashboards.update(1, name="Revenue")

    One client may serve any number of threads.
    """

    def __init__(
        self,
        *,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        base_url = _base_url(settings)
        io = BlockingIO(
            max_connections=max_connections,
            uses_tls=base_url.startswith("https:"),
            transport=transport,
            sleep=sleep,
        )
        self._set_up(io, base_url, None, settings)

    def _use(self, engine: Engine) -> None:
        self._engine = engine
        self.data_sources = BlockingDataSources(DataSources(engine))
        self.dashboards = BlockingDashboards(Dashboards(engine))
        self.reports = BlockingReports(Reports(engine))
        self.analytics = BlockingAnalytics(Analytics(engine))
        self.billing = BlockingBilling(Billing(engine))
        self.auth = BlockingAuth(AuthResource(engine))
        self.raw = BlockingRaw(Raw(engine))

    def close(self) -> None:
        """Close all connections; a view (`with_options`) closes nothing."""
        if self._owns_io:
            run(self._engine.shared.io.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _base_url(settings: Settings) -> str:
    return normalise_base_url(settings.get("base_url", DEFAULT_BASE_URL))


def _chosen_auth(settings: Settings) -> FixedHeader | Credentials:
    api_key, email = settings.get("api_key"), settings.get("email")
    password, auth = settings.get("password"), settings.get("auth")
    given = [name for name in ("api_key", "email", "auth") if settings.get(name) is not None]
    if len(given) != 1:
        what = " and ".join(given) if given else "none"
        raise ConfigurationError(
            f"give one kind of credentials: api_key=, email= with password=, or auth= (got {what})"
        )
    if api_key is not None:
        return ApiKey(api_key, style=settings.get("api_key_style", "x-api-key"))
    if email is not None:
        return Credentials(email=email, password=password, totp=settings.get("totp"))
    if not isinstance(auth, FixedHeader | Credentials):
        raise ConfigurationError("auth= takes jwt_tokens(…), StaticBearer(…) or Anonymous()")
    return auth


def _version() -> str:
    try:
        return version("clarihook")
    except PackageNotFoundError:
        return "0"
