"""Whether the settings can be used, and keep their secrets."""

import stat
from pathlib import Path

from receiver.doctor.finding import Finding, fault, ok, warning
from receiver.errors import ConfigError
from receiver.settings import CONFIG_FILE, Loaded, Settings, is_sensitive, load, secrets_of
from receiver.sources import build_sources


def examine_settings(home: Path) -> tuple[list[Finding], Settings | None]:
    """What is wrong with the settings, and the settings, if they can be read at all.

    Settings whose only fault is that secrets can't be found here are good enough to look at
    the database with.
    """
    try:
        loaded = load(home)
        build_sources(loaded.settings)
    except ConfigError as error:
        remedy = "mend it; `clarihook config check` says whether it is"
        findings = [fault("settings", problem, remedy) for problem in error.problems]
        try:
            return findings, load(home, needs_secrets=False).settings
        except ConfigError:
            return findings, None
    settings = loaded.settings
    if not settings.sources:
        remedy = "add one to config/clarihook.toml"
        return [warning("settings", "there is no source, so nothing is received", remedy)], settings
    count = len(settings.sources)
    findings = [ok("settings", f"{count} source{'s' if count > 1 else ''}: "
                   f"{', '.join(settings.sources)}")]  # fmt: skip
    findings += [_examine_secrets(loaded)]
    return findings, settings


def _examine_secrets(loaded: Loaded) -> Finding:
    file = loaded.settings.home / CONFIG_FILE
    literal = [
        path
        for path, secret in secrets_of(loaded.settings)
        if secret.reference is None
        and is_sensitive(path, secret)
        and ".toml:" in (loaded.origins.place(path) or "")
    ]
    if literal and file.stat().st_mode & stat.S_IROTH:
        text = f"everybody on this machine can read {file}, which has {len(literal)} in it"
        return fault("secrets", text, f"chmod 600 {file}, then change those secrets")
    if loaded.warnings:
        return warning("secrets", "; ".join(loaded.warnings), "see `clarihook config check`")
    return ok("secrets", "none lies open")
