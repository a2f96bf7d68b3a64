"""What the settings name: handlers, channels, the clariBI API."""

from dataclasses import dataclass, field

from receiver.doctor.finding import Finding, fault, ok, warning
from receiver.errors import ConfigError, HandlerLoadError
from receiver.notify import Notifier, routes
from receiver.notify.routes import forward_names
from receiver.registry import load_handlers
from receiver.settings import Settings


@dataclass
class Parts:
    """What was found of them."""

    findings: list[Finding] = field(default_factory=list)
    names: set[str] | None = field(default_factory=lambda: {routes.NAME})
    """The names whose deliveries somebody runs; None if that can't be known."""


def examine_parts(settings: Settings) -> Parts:
    """Load the handler files, open the channels' URLs; nothing is sent, nobody is called."""
    parts = Parts()
    for look in (_examine_handlers, _examine_channels):
        names = look(settings, parts.findings)
        parts.names = None if parts.names is None or names is None else parts.names | names
    parts.findings.append(_examine_claribi(settings))
    if parts.names is not None:
        parts.names |= forward_names(settings.routes)
    return parts


def _examine_handlers(settings: Settings, findings: list[Finding]) -> set[str] | None:
    """Adds what it finds; the names of the handlers, and of what stands in for broken files."""
    paths = [settings.path(path) for path in settings.handlers.paths]
    for path in paths:
        if not path.exists():
            text = f"{path} does not exist, so no handler of it runs"
            findings.append(warning("handlers", text, "make it, or change handlers.paths"))
    there = [path for path in paths if path.exists()]
    try:
        registry = load_handlers(there, plugins=settings.handlers.plugins, on_error="skip")
        registry = registry.without(settings.handlers.disabled)
    except HandlerLoadError as error:
        findings.append(fault("handlers", str(error), "see `clarihook handlers list`"))
        return None
    stops = settings.handlers.on_error == "stop"
    effect = "the server does not start" if stops else "events are held for it"
    for problem in registry.problems:
        cause = problem.text.strip().splitlines()[-1].strip()
        text = f"{problem.file} can't be loaded, and {effect}: {cause}"
        remedy = "mend it; `clarihook handlers list` has the traceback"
        findings.append(fault("handlers", text, remedy))
    if not registry.problems:
        findings.append(ok("handlers", f"{len(registry.handlers)} loaded"))
    names = {handler.name for handler in registry.handlers} | registry.stood_in_for().keys()
    return names | {problem.stand_in for problem in registry.problems}


def _examine_channels(settings: Settings, findings: list[Finding]) -> set[str] | None:
    """Adds what it finds; the names of the targets."""
    if not settings.channels:
        findings.append(ok("channels", "none, so no messages are sent"))
        return set()
    try:
        notifier = Notifier.from_settings(settings.channels, home=settings.home)
    except ConfigError as error:
        findings += _channel_faults(error)
        return None
    names = {name for targets in notifier.channels.values() for name in targets}
    try:
        notifier.check()
    except ConfigError as error:
        findings += _channel_faults(error)
    else:
        shown = ", ".join(f"{name} ({len(each)})" for name, each in notifier.channels.items())
        text = f"{shown}; no message was sent"
        findings.append(ok("channels", text))
    return names


def _channel_faults(error: ConfigError) -> list[Finding]:
    remedy = "mend its URL; docs/channels.md has the forms"
    return [fault("channels", problem, remedy) for problem in error.problems]


def _examine_claribi(settings: Settings) -> Finding:
    claribi = settings.claribi
    if not claribi.has_account:
        remedy = "set claribi.api_key if a handler uses ctx.claribi"
        return warning("claribi", "no account, so handlers can't call the API", remedy)
    how = "an API key" if claribi.api_key is not None else f"the login of {claribi.email}"
    return ok("claribi", f"{claribi.base_url} with {how}; not called")
