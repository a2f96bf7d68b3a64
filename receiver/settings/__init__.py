"""The settings of a deployment: the model, and loading it from file, environment and flags."""

from receiver.settings.channels import ChannelSettings
from receiver.settings.load import CONFIG_FILE, Loaded, load, load_settings
from receiver.settings.model import (
    ClaribiSettings,
    DispatchSettings,
    HandlersSettings,
    LogSettings,
    SchemeName,
    ServerSettings,
    Settings,
    SourceSettings,
    StoreSettings,
)
from receiver.settings.routes import RouteSettings
from receiver.settings.secrets import is_sensitive, secrets_of, sensitive_values
from receiver.settings.values import Secret

__all__ = [
    "CONFIG_FILE",
    "ChannelSettings",
    "ClaribiSettings",
    "DispatchSettings",
    "HandlersSettings",
    "Loaded",
    "LogSettings",
    "RouteSettings",
    "SchemeName",
    "Secret",
    "ServerSettings",
    "Settings",
    "SourceSettings",
    "StoreSettings",
    "is_sensitive",
    "load",
    "load_settings",
    "secrets_of",
    "sensitive_values",
]
