"""The store that a deployment's settings ask for."""

from receiver.errors import ConfigError
from receiver.settings import Settings
from receiver.store.sqlite import Role, SqliteStore


def open_store(settings: Settings, *, role: Role) -> SqliteStore:
    """The store of the settings, not yet opened. Raises ConfigError for a kind we don't have."""
    if settings.sqlite_path is None:
        raise ConfigError(
            "store.url: this version keeps its data in SQLite only; write "
            "sqlite:///data/clarihook.db"
        )
    return SqliteStore(
        settings.sqlite_path,
        role=role,
        max_rejections=settings.rejections.max_count,
        lease_seconds=settings.dispatch.lease.total_seconds(),
    )
