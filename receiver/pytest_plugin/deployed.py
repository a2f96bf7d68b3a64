"""A deployment as a test holds it: the real receiver, with everything outside it made up."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx2

from receiver.app import Application, create_app
from receiver.errors import UsageError
from receiver.model import Delivery, Event, Message, State
from receiver.pytest_plugin.sandbox import ServedSandbox
from receiver.pytest_plugin.serving import serving
from receiver.samples import Places, make_sample
from receiver.settings import (
    CONFIG_FILE,
    ChannelSettings,
    ClaribiSettings,
    Settings,
    SourceSettings,
    StoreSettings,
    load_settings,
)
from receiver.settings.values import Secret
from receiver.sources import build_sources

T = TypeVar("T")

SECRET = "a made-up secret for tests"  # noqa: S105 - made up
_SECRETS = {"standard": "whsec_bWFkZS11cCBzZWNyZXQgZm9yIHRlc3Rz", "none": None}
"""Of the schemes whose secrets have a form of their own."""

WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_UNSETTLED = (State.PENDING, State.RUNNING)


@dataclass(frozen=True, kw_only=True)
class SentEvent:
    """A webhook that was sent, and all that came of it by now."""

    event: Event
    is_duplicate: bool
    deliveries: Sequence[Delivery]
    """Of handlers and of messages, oldest first."""
    messages: Sequence[Message]
    """What handlers and routes said, once each, however many targets a channel has."""
    errors: Mapping[str, str]
    """What the latest attempt raised, by the name of its handler or target; of those that did."""

    @property
    def states(self) -> Mapping[str, State]:
        """The state of each handler's and target's latest delivery, by its name."""
        return {delivery.name: delivery.state for delivery in self.deliveries}


SendEvent = Callable[..., SentEvent]
"""`Deployed.send`."""


class Deployed:
    """What the fixture `clarihook` gives: a receiver that is being served."""

    def __init__(self, app: Application, settings: Settings, origin: str,
                 loop: asyncio.AbstractEventLoop) -> None:  # fmt: skip
        self._store = app.engine.store
        self._sources = build_sources(settings)
        self._loop = loop
        self.settings = settings
        self.url = origin
        """`http://127.0.0.1:PORT`; webhooks go to `{url}/hooks/{source}`."""
        self.secret = SECRET
        """Signs webhooks of the source `claribi`."""

    def send(
        self,
        event_type: str,
        data: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
        timeout_seconds: float = WAIT_SECONDS,
    ) -> SentEvent:
        """Send a signed webhook as the source's sender would; see the fixture `send_event`.

        `data` goes over the sample of a clariBI event. Raises AssertionError if it is refused,
        or if it takes longer than `timeout_seconds`.
        """
        name = source or next(iter(self._sources))
        if name not in self._sources:
            raise UsageError(f"there is no source {name!r}; there are: {', '.join(self._sources)}")
        chosen = self.settings.sources[name]
        sample = make_sample(
            event_type,
            data or {},
            places=Places.of(chosen.scheme, chosen.type, chosen.dedupe),
            scheme=self._sources[name].scheme,
            message_id=f"msg_{uuid4().hex}",
            now=datetime.now(UTC),
        )
        answer = httpx2.post(
            f"{self.url}/hooks/{name}",
            content=sample.body,
            headers=sample.headers,
            timeout=timeout_seconds,
            trust_env=False,
        )
        assert answer.status_code in (200, 202), (
            f"the webhook was refused: {answer.status_code} {answer.text}"
        )
        told = answer.json()
        return self.wait(
            told["id"], is_duplicate=told["duplicate"], timeout_seconds=timeout_seconds
        )

    def wait(
        self,
        event_id: str,
        *,
        is_duplicate: bool = False,
        timeout_seconds: float = WAIT_SECONDS,
    ) -> SentEvent:
        """Wait until nothing of an event runs or is due, however it ended; what came of it."""
        end = time.monotonic() + timeout_seconds
        while True:
            event = self._ask(self._store.event(event_id))
            assert event is not None, f"there is no event {event_id}"
            deliveries = self._ask(self._store.deliveries_of(event_id))
            if not any(delivery.state in _UNSETTLED for delivery in deliveries):
                break
            assert time.monotonic() < end, (
                f"{event_id}: not done after {timeout_seconds:g} s: "
                + ", ".join(f"{each.name} is {each.state}" for each in deliveries)
            )
            time.sleep(_LOOK_SECONDS)
        ids = dict.fromkeys(each.message_id for each in deliveries if each.message_id is not None)
        found = [self._ask(self._store.message(message_id)) for message_id in ids]
        return SentEvent(
            event=event,
            is_duplicate=is_duplicate,
            deliveries=deliveries,
            messages=[message for message in found if message is not None],
            errors=self._errors(deliveries),
        )

    def value(self, handler: str, key: str) -> Any:
        """What a handler keeps in `ctx.store` under a key; None if nothing."""
        text = self._ask(self._store.value(handler, key))
        return None if text is None else json.loads(text)

    def _errors(self, deliveries: Sequence[Delivery]) -> dict[str, str]:
        errors = {}
        for delivery in deliveries:
            for last in self._ask(self._store.attempts(delivery.id))[-1:]:
                if last.error_class is not None:
                    errors[delivery.name] = f"{last.error_class}: {last.error or ''}".rstrip(": ")
        return errors

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """From the test's thread, of the server's store."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(WAIT_SECONDS)


@contextmanager
def deploy(
    folder: Path,
    claribi: ServedSandbox,
    *,
    home: Path | str,
    handlers: Sequence[Path | str] | None = None,
    channels: Sequence[str] = ("ops",),
) -> Iterator[Deployed]:
    """Serve the deployment of `home`, with its data in `folder`.

    Raises ConfigError or HandlerLoadError for what is wrong with it.
    """
    settings = _settings(folder, claribi, Path(home), handlers, channels)
    app = create_app(settings)
    with serving(app, "clarihook") as served:
        for name, source in settings.sources.items():
            if source.scheme == "claribi":
                url = f"{served.origin}/hooks/{name}"
                claribi.sandbox.add_webhook(url, secret=SECRET)
        yield Deployed(app, settings, served.origin, served.loop)


def find_home(test: Path, root: Path) -> Path:
    """The deployment that a test is in: the nearest folder above it with settings, or handlers.

    `root` if there is none.
    """
    for folder in test.parents:
        if (folder / CONFIG_FILE).is_file():
            return folder
    for folder in test.parents:
        handlers = folder / "handlers"
        if handlers.is_dir() and handlers not in test.parents:  # tests/handlers/ holds tests
            return folder
    return root


def _settings(
    folder: Path,
    claribi: ServedSandbox,
    home: Path,
    handlers: Sequence[Path | str] | None,
    channels: Sequence[str],
) -> Settings:
    """The deployment's settings, in which whatever reaches the outside is replaced."""
    database = {"store": {"url": "sqlite:///clarihook.db"}}
    if (home / CONFIG_FILE).is_file():
        # The machine's environment is not for tests: no variable of it, no secret.
        own = load_settings(home, environ={}, overrides=database, needs_secrets=False)
    else:
        own = Settings.from_dict(database, home=home)
    paths = handlers if handlers is not None else own.handlers.paths
    sources = own.sources or {"claribi": SourceSettings(scheme="claribi")}
    names = own.channels or channels
    return own.model_copy(
        update={
            "home": folder,
            "server": own.server.model_copy(
                update={"allowed_hosts": (), "drain_timeout": timedelta(seconds=1)}
            ),
            "store": own.store.model_copy(update={"keep": StoreSettings().keep}),
            "handlers": own.handlers.model_copy(
                update={"paths": tuple(str(home.absolute() / path) for path in paths)}
            ),
            "dispatch": own.dispatch.model_copy(update={"enabled": True}),
            "sources": {name: _with_secret(source) for name, source in sources.items()},
            "channels": {
                name: ChannelSettings(urls=(Secret(f"file://{name}.jsonl"),)) for name in names
            },
            "claribi": ClaribiSettings(
                base_url=claribi.base_url, api_key=Secret(claribi.sandbox.api_key)
            ),
        }
    )


def _with_secret(source: SourceSettings) -> SourceSettings:
    secret = _SECRETS.get(source.scheme, SECRET)
    secrets = () if secret is None else (Secret(secret),)
    return source.model_copy(update={"secrets": secrets, "rate": None})
