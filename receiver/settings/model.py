"""Every setting of clarihook, with its default and unit.

The words under a setting are what docs/configuration.md says of it. Durations are `timedelta`:
a TOML file says "30s", "5m", "90d", or a number of seconds.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
)

from receiver.durations import parse_duration
from receiver.errors import ConfigError
from receiver.retry import RetryOptions, RetryPolicy
from receiver.settings.channels import ChannelSettings
from receiver.settings.checks import (
    cross_check,
    valid_dedupe,
    valid_locator,
)
from receiver.settings.noise import ZoneName
from receiver.settings.problems import Problem, dotted, from_validation
from receiver.settings.retrying import (
    DEFAULT_SCHEDULE,
    BackoffSettings,
    Jitter,
    Schedule,
    retry_options,
)
from receiver.settings.routes import RouteSettings
from receiver.settings.section import Section
from receiver.settings.values import (
    Count,
    Duration,
    PositiveDuration,
    RateValue,
    Secret,
    SecretValue,
    SigningSecret,
    Surroundings,
    Text,
    Texts,
    one_or_many,
)

SchemeName = Literal["standard", "claribi", "github", "stripe", "slack", "shopify", "hmac", "none"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


def _long_lease(lease: timedelta) -> timedelta:
    if lease < timedelta(seconds=1):
        raise ValueError("must be 1s or more, or a busy process would be taken for a dead one")
    return lease


def _store_url(secret: Secret) -> Secret:
    url = urlsplit(secret.get_secret_value())
    if url.scheme not in ("sqlite", "postgresql"):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if url.scheme == "sqlite" and (url.netloc or not url.path.strip("/")):
        raise ValueError('write sqlite:///PATH, for example "sqlite:///data/clarihook.db"')
    return secret


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must be an http:// or https:// address")
    return text


def _origin(text: str) -> str:
    url = urlsplit(_http_url(text))
    if url.path not in ("", "/") or url.query or url.fragment or "@" in url.netloc:
        raise ValueError("must be an address without a path, such as https://console.example.com")
    return text


def _key_style(style: str) -> str:
    if not re.fullmatch(r"x-api-key|api-key|bearer|header:[A-Za-z0-9_-]+", style):
        raise ValueError('must be "x-api-key", "api-key", "bearer" or "header:NAME"')
    return style


class ServerSettings(Section):
    """Where and how webhooks are received."""

    host: Text = "127.0.0.1"
    """The address to listen on; "0.0.0.0" for every network."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """The TCP port; 0 takes a free one."""
    max_body_bytes: Count = 1_048_576
    """The largest accepted body, in bytes; a larger one is answered 413."""
    read_timeout: PositiveDuration = parse_duration("10s")
    """How long a body may take to arrive; a slower one is answered 408."""
    drain_timeout: Duration = parse_duration("10s")
    """How long a stop waits for running work before the work is given back."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that receive and run deliveries; with more than one, another watches over them."""
    reload: bool = True
    """Whether a changed file of settings, templates or handlers is taken up by itself; at SIGHUP
    it always is."""
    allowed_hosts: Texts = ()
    """The Host headers that are answered, such as "hooks.example.com"; none given is any."""
    public_url: Annotated[str, AfterValidator(_http_url)] | None = None
    """The address under which people reach this server; with it, messages link to their event."""


class ConsoleSettings(Section):
    """The web console: a server of its own, for people who have a token."""

    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """The TCP port; 0 takes a free one. Unset: there is no console."""
    host: Text = "127.0.0.1"
    """The address to listen on. Put a proxy with TLS before any other."""
    public_url: Annotated[str, AfterValidator(_origin)] | None = None
    """The address under which people reach it; without it, messages link to their event below
    server.public_url."""


class StoreSettings(Section):
    """Where events and deliveries are kept, and for how long."""

    url: Annotated[SecretValue, AfterValidator(_store_url)] = Secret("sqlite:///data/clarihook.db")
    """The database: sqlite:///PATH, relative to the home; may be a reference."""
    keep: PositiveDuration = parse_duration("90d")
    """How long an event is kept; longer if a delivery of it is dead or has not ended."""
    keep_dedupe: PositiveDuration = parse_duration("30d")
    """How long an event is known as seen before, whether it is still kept or not."""
    max_backlog: Count = 1_000_000
    """Deliveries that may wait; with more, webhooks are answered 503 until some are done."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 67_108_864
    """With less room on the database's disk, webhooks are answered 503; 0: until it is full."""


class HandlersSettings(Section):
    """Which handlers are loaded."""

    paths: Texts = ("handlers",)
    """Folders and files with handlers, relative to the home."""
    on_error: Literal["stop", "skip"] = "stop"
    """A handler file that fails to load: "stop" refuses to start, "skip" holds its deliveries."""
    plugins: Texts = ()
    """Entry points of the group clarihook.handlers that may load."""
    disabled: Texts = ()
    """Names of handlers that are not run."""


class DispatchSettings(Section):
    """How deliveries are run and tried again. A handler may set its own attempts and times."""

    concurrency: Count = 128
    """Deliveries of one handler that run at the same time; its own `concurrency` goes first."""
    threads: Annotated[int, Field(ge=1, le=1000)] = 16
    """Threads in which handlers run that are plain functions, all of them together."""
    attempts: Count = 8
    """Runs of a handler before its delivery is dead."""
    timeout: PositiveDuration = parse_duration("30s")
    """How long one run of a handler may take."""
    schedule: Schedule = DEFAULT_SCHEDULE
    """Waits between the attempts; the last one repeats."""
    backoff: BackoffSettings | None = None
    """Waits that grow, instead of the schedule."""
    jitter: Jitter = RetryPolicy.jitter
    """How far a wait may be from that, as a fraction of it: 0 is exact, 1 from none to double."""
    max_age: PositiveDuration | None = None
    """How long after a delivery was made it may be tried again; unset is no limit."""
    enabled: bool = True
    """Whether this process runs deliveries; false only receives and stores."""
    lease: Annotated[PositiveDuration, AfterValidator(_long_lease)] = parse_duration("30s")
    """How long a process may stand still before others take up its deliveries; 1s or more."""

    @property
    def retry(self) -> RetryOptions:
        """The policy of deliveries to handlers, where neither handler nor source says otherwise."""
        return retry_options(self)


class SourceSettings(Section):
    """A sender of webhooks; its path is /hooks/NAME."""

    scheme: SchemeName
    """How the sender signs: "claribi", "standard", "github", "stripe", "slack", "shopify", "hmac",
    or "none"."""
    secrets: Annotated[
        tuple[SigningSecret, ...],
        BeforeValidator(one_or_many),
    ] = ()
    """The secrets that verify, each 16 bytes or more; several while one is being replaced."""
    tolerance: PositiveDuration = parse_duration("5m")
    """How far a signature's timestamp may be from now, before or after."""
    type: Annotated[str, AfterValidator(valid_locator)] | None = None
    """Where the event's type stands: "header:NAME" or "json:/pointer"; unset is the scheme's."""
    dedupe: Annotated[str, AfterValidator(valid_dedupe)] | None = None
    """What makes an event unique: "header:NAME", "body", "json:/pointer"; unset is the scheme's."""
    malformed: Literal["reject", "store"] = "reject"
    """A signed body that is no event: "reject" answers 400, "store" keeps it and answers 202."""
    rate: RateValue | None = None
    """Requests accepted, such as "100/s" or "600/m burst 50"; more are answered 429. Unset is no
    limit."""
    attempts: Count | None = None
    """Runs of a handler for an event of this source; unset is dispatch.attempts."""
    schedule: Schedule | None = None
    """Waits between these attempts; unset is dispatch.schedule or dispatch.backoff."""
    backoff: BackoffSettings | None = None
    """Waits that grow, instead of the schedule."""
    jitter: Jitter | None = None
    """How far a wait may be from that, as a fraction of it; unset is dispatch.jitter."""
    max_age: PositiveDuration | None = None
    """How long after a delivery was made it may be tried again; unset is dispatch.max_age."""
    insecure: bool = False
    """Whether scheme = "none" is meant; then server.host must be a loopback address."""
    header: Text | None = None
    """The header that holds the signature."""
    prefix: str | None = None
    """What stands before a signature that fills its header, such as "sha256="."""
    elements: str | None = None
    """The form of a header that is a list, such as "t={timestamp},v1={signature}"."""
    digest: Text | None = None
    """The hash of the HMAC, such as "sha256"."""
    encoding: Text | None = None
    """How the signature is written: "hex" or "base64"."""
    signed: Text | None = None
    """What is signed, from {body}, {timestamp} and {id}, such as "{timestamp}.{body}"."""
    timestamp_header: str | None = None
    """The header that holds the time of signing."""
    timestamp_format: Text | None = None
    """How that time is written, such as "seconds" or "milliseconds"."""
    id_header: str | None = None
    """The header that holds the message id."""
    key_encoding: Text | None = None
    """How the secrets are written: "text", "base64" or "hex"."""

    @property
    def scheme_options(self) -> dict[str, Any]:
        """What `SchemeSpec` takes: `SchemeSpec(**source.scheme_options)`."""
        names = SourceSettings.model_fields
        overrides = list(names)[list(names).index("header") :]
        return {
            "scheme": self.scheme,
            "tolerance_seconds": self.tolerance.total_seconds(),
            **{name: getattr(self, name) for name in overrides},
        }

    @property
    def retry(self) -> RetryOptions:
        """The part of the policy that deliveries of this source's events have of their own."""
        return retry_options(self)


class ClaribiSettings(Section):
    """The clariBI API that handlers call through `ctx.claribi`."""

    base_url: Annotated[str, AfterValidator(_http_url)] = "https://claribi.com/api/"
    """The API's address."""
    api_key: SecretValue | None = None
    """An API key; or set email and password."""
    email: Text | None = None
    """The login of a user, instead of an API key."""
    password: SecretValue | None = None
    """That user's password."""
    totp: SecretValue | None = None
    """That user's base32 secret of two-factor login, if it is on."""
    api_key_style: Annotated[str, AfterValidator(_key_style)] = "x-api-key"
    """How the key is sent: "x-api-key", "api-key" or "bearer" (Authorization), "header:NAME"."""
    timeout: PositiveDuration = parse_duration("30s")
    """How long one call may take."""

    @property
    def has_account(self) -> bool:
        """Whether there is anything to log in with."""
        return self.api_key is not None or self.email is not None


class NotifySettings(Section):
    """What holds for all messages."""

    timezone: ZoneName = "UTC"
    """The time zone of times in messages, such as "Europe/Berlin"."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


class RejectionsSettings(Section):
    """The log of refused requests, which says why each was refused."""

    enabled: bool = True
    """Whether refused requests are kept; what is refused is logged either way."""
    max_count: Count = 1000
    """Refused requests that are kept of each status, the latest of them."""
    max_age: PositiveDuration = parse_duration("30d")
    """How long a refused request is kept."""
    max_body_bytes: Annotated[int, Field(ge=0)] = 16_384
    """Kept of a refused request's body; of one that is signed, but no event (400), all is."""


class LogSettings(Section):
    """What the process logs, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """One of "debug", "info", "warning" or "error": less severe lines are not written."""
    format: Literal["auto", "json", "console"] = "auto"
    """One of "json", "console", or "auto": console on a terminal, JSON elsewhere."""


class Settings(Section):
    """All settings of one deployment. Made by `load_settings`, or `from_dict` in tests."""

    home: Path
    """The deployment's folder, absolute; not a setting itself."""
    server: ServerSettings = ServerSettings()
    console: ConsoleSettings = ConsoleSettings()
    store: StoreSettings = StoreSettings()
    handlers: HandlersSettings = HandlersSettings()
    dispatch: DispatchSettings = DispatchSettings()
    sources: dict[Name, SourceSettings] = Field(default_factory=dict)
    claribi: ClaribiSettings = ClaribiSettings()
    channels: dict[Name, ChannelSettings] = Field(default_factory=dict)
    routes: tuple[RouteSettings, ...] = ()
    notify: NotifySettings = NotifySettings()
    rejections: RejectionsSettings = RejectionsSettings()
    log: LogSettings = LogSettings()

    @staticmethod
    def from_dict(
        data: Mapping[str, Any],
        *,
        home: Path | str = ".",
        environ: Mapping[str, str] | None = None,
    ) -> "Settings":
        """Settings from plain data in the form of the TOML file.

        `environ` is where `env:NAME` is looked up; without it there are no variables. Raises
        ConfigError with every fault.
        """
        settings, problems = validate(data, Surroundings(Path(home).resolve(), environ or {}))
        if settings is None:
            raise ConfigError(*(f"{dotted(p.path)}: {p.text}" for p in problems))
        return settings

    def path(self, relative: str | Path) -> Path:
        """A path of the settings as an absolute one: relative ones are relative to the home."""
        return self.home / relative

    @property
    def events_url(self) -> str | None:
        """The address below which people see events; None if nobody has said."""
        return self.console.public_url or self.server.public_url

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, absolute; None if the store is not SQLite.

        `sqlite:///data/x.db` is relative to the home, `sqlite:////var/x.db` is absolute.
        """
        url = urlsplit(self.store.url.get_secret_value())
        return self.path(unquote(url.path[1:])) if url.scheme == "sqlite" else None


def validate(
    data: Mapping[str, Any], surroundings: Surroundings
) -> tuple[Settings | None, list[Problem]]:
    """The settings, or None and every fault in them."""
    problems = list(cross_check(data))
    if "home" in data:
        problems.append(Problem(("home",), "is no setting; use --home or CLARIHOOK_HOME"))
    settings = None
    try:
        settings = Settings.model_validate(
            {**data, "home": surroundings.home}, context=surroundings
        )
    except ValidationError as error:
        problems += from_validation(error, Settings)
    return (None, problems) if problems else (settings, [])
